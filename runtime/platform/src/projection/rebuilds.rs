//! Rebuilding projections: which process does it, and what tells it to look.

use std::sync::Arc;

use futures_util::FutureExt as _;
use kernel::DomainName;
use otp::ChildSpec;
use store::replay::{ApplyTo, ReadModel, Rebuilder, Wish};
use tokio::sync::watch;

use super::{ProjectionDeclaration, Renewal, apply};
use crate::catalog::Catalog;
use crate::domain::Domain;
use crate::subtree::event_name;
use crate::system::System;

/// Events that share a commit of a rebuild, unless an operator says otherwise: enough that a fold
/// pays, few enough that a pause holds within a second and a batch fits into memory.
pub(crate) const BATCH_SIZE: u32 = 5_000;

/// Tells the rebuilders of this process that an operator has asked for something.
///
/// A hint: a rebuilder in a cell, or on another node, looks now and then.
#[derive(Clone)]
pub(crate) struct Rebuilds(Arc<watch::Sender<u64>>);

impl Rebuilds {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Lets every rebuilder look.
    pub(crate) fn wake(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// A projection as the log knows it.
pub(crate) fn read_model(domain: DomainName, projection: &ProjectionDeclaration) -> ReadModel {
    ReadModel {
        name: format!("{domain}.{}", projection.name),
        version: projection.version,
        tables: projection.tables.iter().map(ToString::to_string).collect(),
        filter: projection.events().map(event_name).collect(),
    }
}

/// The projections of all domains, as the log knows them.
pub(crate) fn read_models(catalog: &Catalog) -> impl Iterator<Item = ReadModel> {
    let of = |domain: &Domain| {
        let name = domain.name();
        domain.projections.iter().map(move |projection| read_model(name, projection)).collect()
    };
    catalog.domains().iter().flat_map(move |domain| -> Vec<ReadModel> { of(domain) })
}

/// The process that rebuilds a projection, beside the one that keeps it up to date.
pub(crate) fn rebuilder(
    system: &System,
    domain: DomainName,
    projection: &ProjectionDeclaration,
) -> ChildSpec {
    let declared = projection.clone();
    let fill: ApplyTo = Arc::new(move |connection, search_path, events| {
        let projection = declared.clone();
        async move { apply(&projection, domain, search_path, connection, events).await }.boxed()
    });
    let wanted = system.rebuilds().0.subscribe();
    let rebuilder = Rebuilder::new(read_model(domain, projection), system.log(), fill, wanted);
    let rebuilder = match projection.renewal {
        Renewal::AtStart => rebuilder.renews(renewal(projection.version)),
        Renewal::WhenAsked => rebuilder,
    };
    rebuilder.child(format!("{}_rebuilder", projection.name))
}

/// The rebuild that a new version of the logic asks for by itself.
fn renewal(version: u16) -> Wish {
    Wish {
        reason: format!("version {version} of its logic has started"),
        batch_size: BATCH_SIZE,
        throttle: None,
        asks: false,
    }
}
