//! From one state to the next.

use std::collections::BTreeMap;

use nic_policy::Revision;

use crate::check;
use crate::name::{ApplySet, Kind, Name};
use crate::resource::{Meta, Resource, Time};
use crate::state::State;
use crate::transaction::{Action, Apply, Change, Desired, Operation, Transaction};
use crate::violation::{Part, Reason, Rejection, Subject, Violation};

/// What a transaction leads to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The state afterwards. Its revision is the one before if nothing changed.
    pub state: State,
    /// One for each resource of the transaction in its order, then those that are pruned in the order
    /// of their names.
    pub changes: Vec<Change>,
}

impl Outcome {
    /// True if nothing changed, so that there is nothing to store.
    pub fn is_unchanged(&self, before: &State) -> bool {
        self.state.revision() == before.revision()
    }
}

/// Works out what a transaction leads to. References resolve in the state afterwards, so the order of
/// its parts does not matter. Costs what the transaction touches.
///
/// # Errors
/// Every fault that was found; nothing is to be done then.
pub fn plan(state: &State, transaction: &Transaction) -> Result<Outcome, Rejection> {
    let mut planner = Planner {
        before: state,
        after: state.clone(),
        revision: Revision(state.revision().0 + 1),
        time: transaction.time,
        changes: Vec::new(),
        subjects: BTreeMap::new(),
        faults: Vec::new(),
    };
    match &transaction.operation {
        Operation::Create(desired) => planner.create(desired),
        Operation::Update(desired) => planner.update(desired),
        Operation::Delete { name, etag } => planner.delete(name, etag.as_deref()),
        Operation::Apply(apply) => planner.apply(apply),
    }
    if planner.faults.is_empty() {
        planner.check_whole();
    }
    planner.finish()
}

struct Planner<'a> {
    before: &'a State,
    after: State,
    revision: Revision,
    time: Time,
    changes: Vec<Change>,
    /// How the request speaks of the resources that it sent.
    subjects: BTreeMap<Name, Subject>,
    faults: Vec<Violation>,
}

impl Planner<'_> {
    fn create(&mut self, desired: &Desired) {
        let name = desired.name();
        self.subjects.insert(name.clone(), Subject::Only);
        if self.before.get(&name).is_some() {
            self.fault(&name, Part::Whole, Reason::Exists(name.clone()));
        } else {
            self.put(desired, None);
        }
    }

    fn update(&mut self, desired: &Desired) {
        let name = desired.name();
        self.subjects.insert(name.clone(), Subject::Only);
        match self.before.get(&name) {
            None => self.fault(&name, Part::Whole, Reason::NotFound(name.clone())),
            Some(before) if self.etag_fits(&before, desired.etag.as_deref()) => {
                let set = before.meta().apply_set.clone();
                self.put(desired, set);
            }
            Some(_) => {}
        }
    }

    fn delete(&mut self, name: &Name, etag: Option<&str>) {
        self.subjects.insert(name.clone(), Subject::Only);
        match self.before.get(name) {
            None => self.fault(name, Part::Whole, Reason::NotFound(name.clone())),
            Some(before) => {
                if self.etag_fits(&before, etag) {
                    self.remove(before);
                }
            }
        }
    }

    fn apply(&mut self, apply: &Apply) {
        for (index, desired) in apply.resources.iter().enumerate() {
            let name = desired.name();
            if let Some(&Subject::Sent(first)) = self.subjects.get(&name) {
                let fault = Violation::new(Part::Name, Reason::Repeated { first });
                self.faults.push(fault.of(Subject::Sent(index)));
                continue;
            }
            self.subjects.insert(name.clone(), Subject::Sent(index));
            if let Some(before) = self.before.get(&name)
                && !(self.set_fits(&before, apply) & self.etag_fits(&before, desired.etag.as_deref()))
            {
                continue;
            } else if desired.etag.is_some() && self.before.get(&name).is_none() {
                self.fault(&name, Part::Etag, Reason::EtagMismatch(name.clone()));
                continue;
            }
            self.put(desired, Some(apply.set.clone()));
        }
        if apply.prune {
            let members: Vec<Name> = self.before.members(&apply.set).cloned().collect();
            for name in
                members.into_iter().filter(|name| !self.subjects.contains_key(name)).collect::<Vec<_>>()
            {
                if let Some(before) = self.before.get(&name) {
                    self.remove(before);
                }
            }
        }
    }

    fn set_fits(&mut self, before: &Resource, apply: &Apply) -> bool {
        match &before.meta().apply_set {
            Some(set) if *set != apply.set && !apply.take_over => {
                let name = before.name();
                self.fault(&name, Part::Whole, Reason::OtherSet { name: name.clone(), set: set.clone() });
                false
            }
            _ => true,
        }
    }

    fn etag_fits(&mut self, before: &Resource, etag: Option<&str>) -> bool {
        let fits = etag.is_none_or(|etag| etag == before.meta().etag());
        if !fits {
            let name = before.name();
            self.fault(&name, Part::Etag, Reason::EtagMismatch(name.clone()));
        }
        fits
    }

    /// Creates a resource or changes it to what is wanted.
    fn put(&mut self, desired: &Desired, set: Option<ApplySet>) {
        let before = self.before.get(&desired.name());
        let meta = match &before {
            None => self.new_meta(set),
            Some(before) => {
                let same_spec = before.has_spec(&desired.spec);
                if same_spec && before.meta().apply_set == set {
                    self.changes.push(Change { before: Some(before.clone()), after: Some(before.clone()) });
                    return;
                }
                let mut meta = Meta { changed_at: self.revision, apply_set: set, ..before.meta().clone() };
                if !same_spec {
                    meta.generation += 1;
                    meta.update_time = self.time;
                }
                meta
            }
        };
        let after = Resource::new(desired.id.clone(), meta, desired.spec.clone());
        self.after.put(&after);
        self.changes.push(Change { before, after: Some(after) });
    }

    fn new_meta(&mut self, apply_set: Option<ApplySet>) -> Meta {
        Meta {
            uid: self.after.next_uid(),
            generation: 1,
            created_at: self.revision,
            changed_at: self.revision,
            apply_set,
            create_time: self.time,
            update_time: self.time,
        }
    }

    fn remove(&mut self, before: Resource) {
        self.after.remove(&before.name());
        self.changes.push(Change { before: Some(before), after: None });
    }

    /// Checks what only the state as a whole can tell.
    fn check_whole(&mut self) {
        for &kind in Kind::ALL {
            self.check_limit(kind);
        }
        let changes = self.changes.iter().map(|change| (change.before.as_ref(), change.after.as_ref()));
        for (name, part, reason) in check::around(self.before, &self.after, changes) {
            self.fault(&name, part, reason);
        }
    }

    /// The last that were created are at fault if there are too many.
    fn check_limit(&mut self, kind: Kind) {
        let Some(limit) = kind.limit() else { return };
        let excess = self.after.count(kind).saturating_sub(limit);
        let created = self.changes.iter().rev().filter(|change| change.action() == Action::Create);
        let created = created.filter_map(Change::name).filter(|name| name.kind == kind);
        for name in created.take(excess).collect::<Vec<_>>() {
            self.fault(&name, Part::Whole, Reason::Limit { limit });
        }
    }

    fn fault(&mut self, name: &Name, part: Part, reason: Reason) {
        let subject = self.subjects.get(name).cloned().unwrap_or_else(|| Subject::Stored(name.clone()));
        self.faults.push(Violation { subject, part, reason });
    }

    fn finish(mut self) -> Result<Outcome, Rejection> {
        if !self.faults.is_empty() {
            return Err(Rejection { violations: self.faults });
        }
        let unchanged = self.changes.iter().all(|change| change.action() == Action::Unchanged);
        if !unchanged {
            self.after.set_revision(self.revision);
        }
        Ok(Outcome { state: self.after, changes: self.changes })
    }
}

#[cfg(test)]
mod tests;
