//! Subtrees: from the declaration of a domain to the processes that serve it.
//!
//! The shape of the tree comes from the catalog, its tuning from supervision.toml. A domain's
//! subtree holds a consumer for each subscription and projection, its queue, and its own processes.

use std::sync::Arc;

use futures_util::FutureExt as _;
use kernel::{DomainName, EventType};
use otp::{ChildSpec, Strategy, SupervisorSpec};
use sqlx::PgConnection;
use store::SealedEvent;
use store::consumer::{ConsumeError, Consumer, OnPoison};
use store::read::EventName;
use store::replay::ReadModel;

use crate::domain::Domain;
use crate::job::{JobDeclaration, Performer};
use crate::projection::rebuilds::{read_model, rebuilder};
use crate::projection::{ProjectionDeclaration, apply};
use crate::reaction::Subscription;
use crate::refusal::{Error, Kind};
use crate::system::System;
use crate::tuned::queue_limits;

/// The subtree of one domain, as a child of `domains`, in this process.
pub(crate) fn of_domain(system: &System, domain: &Domain) -> ChildSpec {
    let (name, system) = (domain.name(), system.clone());
    let tuning = system.tuning().domain(name.as_str());
    let child = match system.homes().of(name).cloned() {
        None => ChildSpec::supervisor_from(name.as_str(), move || Ok(spec_of(&system, name))),
        Some(home) => {
            let bulkhead = home.bulkhead().clone();
            let make = move || {
                home.move_in(&system);
                Ok(spec_of(&system.at_home(name), name))
            };
            ChildSpec::supervisor_from(name.as_str(), make).bulkhead(bulkhead)
        }
    };
    let child = match tuning.watchdog {
        Some(watchdog) => child.watchdog(watchdog),
        None => child,
    };
    child.shutdown(tuning.shutdown)
}

/// The supervisor of a domain by the tuning that holds now, for the system as its processes use it.
pub(crate) fn spec_of(system: &System, name: DomainName) -> SupervisorSpec {
    let domain = declared(system, name);
    let tuning = system.tuning().domain(name.as_str());
    let mut spec = SupervisorSpec::new(tuning.strategy).intensity(tuning.intensity);
    if !domain.subscriptions.is_empty() {
        let consumers =
            domain.subscriptions.iter().map(|subscription| reacting(system, name, subscription));
        spec = spec.child(ChildSpec::supervisor("subscriptions", one_for_one(consumers)));
    }
    if !domain.projections.is_empty() {
        let projections = domain.projections.iter().flat_map(|projection| {
            [projecting(system, name, projection), rebuilder(system, name, projection)]
        });
        spec = spec.child(ChildSpec::supervisor("projections", one_for_one(projections)));
    }
    system.queues().set_limits(name.as_str(), queue_limits(&tuning.queue));
    spec = spec.child(jobs::producer::subtree(
        system.queues(),
        name.as_str(),
        tuning.queue_limit,
        performers(system, domain),
    ));
    if !domain.children.is_empty() {
        let system = system.clone();
        let make = move || Ok(children_of(&system, name));
        spec = spec.child(ChildSpec::supervisor_from("children", make));
    }
    spec
}

/// The supervisor of a domain's own processes, by the tuning that holds now.
pub(crate) fn children_of(system: &System, name: DomainName) -> SupervisorSpec {
    let tuning = system.tuning().domain(name.as_str());
    one_for_one(declared(system, name).children.iter().map(|(id, child)| {
        let child = child(system);
        assert_eq!(
            child.id(),
            *id,
            "{name} declares the child `{id}`, but its specification says otherwise"
        );
        tuning.tune(child)
    }))
}

fn declared(system: &System, name: DomainName) -> &Domain {
    system.catalog().domain(name.as_str()).expect("the name of a domain comes from the catalog")
}

fn one_for_one(children: impl Iterator<Item = ChildSpec>) -> SupervisorSpec {
    SupervisorSpec::new(Strategy::OneForOne).children(children)
}

/// What performs the jobs of a domain.
pub(crate) fn performers(system: &System, domain: &Domain) -> jobs::Performers {
    let performer = |declaration: &JobDeclaration| {
        Arc::new(Performer {
            system: system.clone(),
            domain: domain.name(),
            declared: declaration.clone(),
        }) as Arc<dyn jobs::Perform>
    };
    let named =
        domain.jobs.iter().map(|(name, declaration)| ((*name).to_owned(), performer(declaration)));
    Arc::new(named.collect())
}

/// A cursor of a domain: its persistent name and the events it follows.
pub(crate) struct Following {
    pub(crate) name: String,
    pub(crate) filter: Vec<EventName>,
}

/// All cursors of a domain, which exist once their consumers have started.
pub(crate) fn cursors(domain: &Domain) -> Vec<Following> {
    let name = |name: &str| format!("{}.{name}", domain.name());
    let subscriptions = domain.subscriptions.iter().map(|subscription| Following {
        name: name(subscription.name),
        filter: vec![event_name(subscription.event)],
    });
    let projections = domain.projections.iter().map(|projection| Following {
        name: name(projection.name),
        filter: projection.events().map(event_name).collect(),
    });
    subscriptions.chain(projections).collect()
}

pub(crate) fn event_name(event: EventType) -> EventName {
    (event.domain.as_str().to_owned(), event.name.to_owned())
}

/// A consumer that enqueues what follows from each event; cursor and jobs commit together.
fn reacting(system: &System, domain: DomainName, subscription: &Subscription) -> ChildSpec {
    let (woken, reacting, declared) = (system.clone(), system.clone(), subscription.clone());
    Consumer::new(
        format!("{domain}.{}", subscription.name),
        system.log(),
        move |connection, events| {
            let (system, subscription) = (reacting.clone(), declared.clone());
            async move {
                // What was imported without reactions has had its consequences elsewhere.
                let events = store::import::newsworthy(connection, events).await?;
                react(&system, domain, &subscription, connection, &events).await
            }
            .boxed()
        },
    )
    .id(subscription.name)
    .filter([event_name(subscription.event)])
    // What follows for one organisation never depends on what follows for another.
    .on_poison(OnPoison::ParkOrganisation)
    .on_committed(move || woken.queues().nudge(domain.as_str()))
    .child()
}

async fn react(
    system: &System,
    domain: DomainName,
    subscription: &Subscription,
    connection: &mut PgConnection,
    events: &[SealedEvent],
) -> Result<(), ConsumeError> {
    let mut caused = Vec::new();
    for event in events {
        let job = match subscription.consequence(domain, event) {
            Ok(job) => job,
            Err(refusal) if refusal.kind() == Kind::Conflict => {
                // The chain of causes ends here on purpose; stalling would only repeat the refusal.
                let subscription = subscription.name;
                let chain = store::chain_of_causes(connection, event.event_id).await?;
                tracing::warn!(
                    %domain, subscription, reason = %refusal, %chain, "a reaction is refused"
                );
                let refused = &system.telemetry().reactions_refused;
                refused.with_label_values(&[domain.as_str(), subscription]).inc();
                None
            }
            Err(error) => return Err(ConsumeError::Refused(error.into())),
        };
        caused.extend(job);
    }
    jobs::enqueue_all(connection, &caused, system.now()).await.map_err(undigested)?;
    Ok(())
}

/// A consumer that fills a read model, tenant by tenant as the domain itself; cursor and rows
/// commit together.
fn projecting(
    system: &System,
    domain: DomainName,
    projection: &ProjectionDeclaration,
) -> ChildSpec {
    let (declared, model) = (projection.clone(), read_model(domain, projection));
    Consumer::new(model.name.clone(), system.log(), move |connection, events| {
        let (projection, model) = (declared.clone(), model.clone());
        async move {
            must_be_ours(&model, connection).await?;
            apply(&projection, domain, domain.as_str(), connection, &events).await
        }
        .boxed()
    })
    .id(projection.name)
    .filter(projection.events().map(event_name))
    .child()
}

/// Refuses to go on with tables that a newer version of the logic has filled, as while a release is
/// rolled out or after it was taken back.
async fn must_be_ours(
    model: &ReadModel,
    connection: &mut PgConnection,
) -> Result<(), ConsumeError> {
    let live = store::replay::live_version(connection, &model.name).await?;
    match live.filter(|live| *live > model.version) {
        None => Ok(()),
        Some(live) => Err(ConsumeError::Refused(
            format!(
                "version {live} of the logic has filled the tables of {}, and this release has \
                 version {}; rebuild the projection, or run the newer release",
                model.name, model.version
            )
            .into(),
        )),
    }
}

/// An outage is told apart, so that it is waited for and not reported as a poisonous event.
pub(crate) fn undigested(error: impl Into<Error>) -> ConsumeError {
    match error.into() {
        Error::Unavailable { .. } => ConsumeError::Database(sqlx::Error::PoolTimedOut),
        error => ConsumeError::Refused(error.into()),
    }
}
