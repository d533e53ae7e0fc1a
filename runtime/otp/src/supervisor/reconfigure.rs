//! How a running supervisor takes a new specification: OTP's `code_change`, without new code.
//!
//! Nothing is started or stopped by it. The flags hold from the next exit on, and a child keeps its
//! process whatever its new specification says.

use std::sync::Arc;

use super::Supervisor;
use crate::changes::{Changes, Flags, Replaced};
use crate::child::ChildSpec;
use crate::children::Seat;
use crate::request::{ChildDescription, RequestError};
use crate::specification::{SpecError, SupervisorSpec};
use crate::strategy::Strategy;

impl Supervisor {
    /// Replaces flags and specifications, or changes nothing and says why.
    pub(super) fn reconfigure(&mut self, spec: SupervisorSpec) -> Result<Changes, RequestError> {
        spec.check()?;
        if how_children_come(&self.spec) != how_children_come(&spec) {
            return Err(SpecError::OtherKindOfSupervisor.into());
        }
        let mut changes = Changes {
            before: Flags::of(&self.spec),
            after: Flags::of(&spec),
            replaced: Vec::new(),
            added: Vec::new(),
            kept: Vec::new(),
        };
        match (spec.strategy, spec.children.first()) {
            (Strategy::SimpleOneForOne, Some(template)) => {
                self.replace_template(template, &mut changes);
            }
            // The children of a dynamic supervisor have each come with a specification of its own.
            (Strategy::SimpleOneForOne, None) => {}
            _ => self.replace_listed(&spec.children, &mut changes),
        }
        self.spec = spec;
        let listed = self.children.iter().map(|(seat, child)| (seat, &child.path, &*child.spec));
        self.tree().describe_anew(&self.me.path, &self.spec, listed);
        tracing::info!(path = &*self.me.path, "reconfigured");
        Ok(changes)
    }

    /// Instances keep their processes; what is asked of them from now on goes by the new one.
    fn replace_template(&mut self, template: &ChildSpec, changes: &mut Changes) {
        let before = self.spec.children.first().map(ChildDescription::of);
        let after = ChildDescription::of(template);
        changes.replaced.extend(before.map(|before| Replaced { before, after }));
        let template = Arc::new(template.clone());
        self.template = Some(template.clone());
        let seats: Vec<Seat> = self.children.iter().map(|(seat, _)| seat).collect();
        for seat in seats {
            if let Some(child) = self.children.get_mut(seat) {
                child.spec = template.clone();
            }
        }
    }

    /// Puts the children into the order of the new list, those it does not name behind it.
    fn replace_listed(&mut self, listed: &[ChildSpec], changes: &mut Changes) {
        let mut left: Vec<Seat> = self.children.iter().map(|(seat, _)| seat).collect();
        let mut order = Vec::with_capacity(left.len());
        for spec in listed {
            let present = self.children.seat_of(&spec.id);
            if let Some(child) = present.and_then(|seat| self.children.get_mut(seat)) {
                let before = ChildDescription::of(&child.spec);
                changes.replaced.push(Replaced { before, after: ChildDescription::of(spec) });
                child.spec = spec.clone().into();
            } else {
                changes.added.push(spec.id.to_string());
            }
            order.push(present.unwrap_or_else(|| {
                let path = format!("{}/{}", self.me.path, spec.id).into();
                self.children.add(spec.clone().into(), spec.id.clone(), path, None)
            }));
        }
        let named: std::collections::HashSet<Seat> = order.iter().copied().collect();
        left.retain(|seat| !named.contains(seat));
        let kept = left.iter().filter_map(|seat| Some(self.children.get(*seat)?.id.to_string()));
        changes.kept.extend(kept);
        order.append(&mut left);
        self.children.arrange(&order);
    }
}

/// Whether children are listed, instances of one specification, or each brought along: the table
/// of a running supervisor cannot be turned from one into another.
fn how_children_come(spec: &SupervisorSpec) -> (bool, bool) {
    (spec.strategy == Strategy::SimpleOneForOne, spec.dynamic.is_some())
}
