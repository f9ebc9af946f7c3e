//! What the services of all kinds of resources do alike: the steps of Create, Get, List, Update and
//! Delete. What one kind differs in from another is its [`Collection`].

use nic_model::{
    Desired, OneSpec, Operation, Part, Reason, Resource, ResourceId, Spec, State, Stored, Violation,
};
use nic_proto::v1::ErrorReason;
use pbjson_types::FieldMask;
use prost::Message;
use serde::Serialize;

use super::mask::each_field;
use crate::condition::{Asked, Observed};
use crate::core::{Core, EncodedLen, parse_id, parse_name, request_key};
use crate::failure::{Failure, Fault};
use crate::page::Pages;
use crate::seam::{Committed, RequestKey};

/// A field of a spec: its name in update masks, and how to take it over.
pub(super) type Field<S> = (&'static str, fn(from: &S, into: &mut S));

/// What the status of a resource is made from.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) state: &'a State,
    pub(super) observed: &'a Observed,
}

/// What a client sent of a resource.
pub(super) struct Sent<'a, S> {
    pub(super) name: &'a str,
    pub(super) etag: &'a str,
    pub(super) spec: Option<&'a S>,
}

/// A kind of resources as nic.v1 has it.
pub(super) trait Collection {
    /// What the kind is called in the names of methods.
    const NAME: &'static str;
    /// The field of a Create that has the id.
    const ID_FIELD: &'static str;
    /// All fields of the spec.
    const FIELDS: &'static [Field<Self::Wire>];
    /// What the status tells of beside what the datapath says by itself.
    const ASKED: Asked = Asked::Nothing;
    /// The resource as a message.
    type Message: Sync;
    /// The spec as a message.
    type Wire: Message + Serialize + Clone + Default + 'static;
    /// The spec, checked.
    type Spec: OneSpec + 'static;

    fn sent(message: &Self::Message) -> Sent<'_, Self::Wire>;

    fn parse(spec: &Self::Wire) -> Result<Spec, Vec<Violation>>;

    fn wire(spec: &Self::Spec) -> Self::Wire;

    /// The resource as a message, with a status if there is something to make it from.
    fn message(stored: &Stored<Self::Spec>, seen: Option<Seen<'_>>) -> Self::Message;
}

/// A request that changes one resource, for as long as it is served.
pub(super) struct Mutation<'a> {
    pub(super) request: &'a (dyn EncodedLen + Sync),
    pub(super) request_id: &'a str,
}

impl Mutation<'_> {
    fn key(&self, verb: &str, name: &str) -> Result<Option<RequestKey>, Failure> {
        request_key(&format!("{verb}{name}"), self.request_id, &[self.request])
    }
}

/// Checks a resource that a client sent, but for its name.
pub(super) fn parse<C: Collection>(sent: Option<&C::Message>) -> Result<Spec, Vec<Violation>> {
    let spec = sent.and_then(|message| C::sent(message).spec);
    C::parse(spec.ok_or_else(|| vec![Violation::new(Part::Spec, Reason::Required)])?)
}

/// A spec, unless a field of it has a value of an enum that this version does not know.
pub(super) fn known(
    is_known: bool,
    part: Part,
    values: &'static str,
    parsed: Result<Spec, Vec<Violation>>,
) -> Result<Spec, Vec<Violation>> {
    if is_known {
        return parsed;
    }
    let mut faults = parsed.err().unwrap_or_default();
    faults.push(Violation::new(part, Reason::Malformed(values)));
    Err(faults)
}

/// Creates a resource; returns it, and the revision.
pub(super) async fn create<C: Collection>(
    core: &Core,
    mutation: Mutation<'_>,
    id: &str,
    sent: Option<&C::Message>,
) -> Result<(C::Message, u64), Failure> {
    let key = mutation.key("Create", C::NAME)?;
    let id = parse_id(C::Spec::KIND, C::ID_FIELD, id)?;
    let desired = Desired { id, spec: parse::<C>(sent)?, etag: None };
    answer::<C>(core, &core.commit(Operation::Create(desired), key).await?)
}

/// Takes the fields that a mask names over into a resource; returns it, and the revision.
pub(super) async fn update<C: Collection>(
    core: &Core,
    mutation: Mutation<'_>,
    sent: Option<&C::Message>,
    mask: Option<&FieldMask>,
) -> Result<(C::Message, u64), Failure> {
    let key = mutation.key("Update", C::NAME)?;
    let sent = sent.ok_or_else(|| Fault::from(Violation::new(Part::Name, Reason::Required)))?;
    let sent = C::sent(sent);
    let id = parse_name(C::Spec::KIND, "name", sent.name)?;
    let empty = C::Wire::default();
    let wanted = sent.spec.unwrap_or(&empty);
    let fields = each_field(mask, C::FIELDS)?;
    let merge = |current: &Resource| {
        let current = C::Spec::of(current).ok_or_else(|| Fault::not_found(&current.name()))?;
        let mut merged = C::wire(&current.spec);
        for (_, take_over) in &fields {
            take_over(wanted, &mut merged);
        }
        Ok(C::parse(&merged)?)
    };
    answer::<C>(core, &core.update(&C::Spec::KIND.name(id), sent.etag, key, merge).await?)
}

/// Deletes a resource; returns the revision.
pub(super) async fn delete<C: Collection>(
    core: &Core,
    mutation: Mutation<'_>,
    name: &str,
    etag: &str,
) -> Result<u64, Failure> {
    let key = mutation.key("Delete", C::NAME)?;
    let name = C::Spec::KIND.name(parse_name(C::Spec::KIND, "name", name)?);
    let etag = Some(etag.to_owned()).filter(|etag| !etag.is_empty());
    Ok(core.commit(Operation::Delete { name, etag }, key).await?.revision.0)
}

/// One resource.
pub(super) async fn get<C: Collection>(core: &Core, name: &str) -> Result<C::Message, Failure> {
    let id = parse_name(C::Spec::KIND, "name", name)?;
    let state = core.state();
    let stored =
        state.one::<C::Spec>(&id).ok_or_else(|| Fault::not_found(&C::Spec::KIND.name(id.clone())))?;
    let observed = core.observe(C::ASKED).await;
    Ok(C::message(stored, Some(Seen { state: &state, observed: &observed })))
}

/// A page of resources.
pub(super) struct Page<M> {
    pub(super) resources: Vec<M>,
    pub(super) next_page_token: String,
    pub(super) revision: u64,
}

pub(super) async fn list<C: Collection>(
    core: &Core,
    page_size: u32,
    page_token: &str,
) -> Result<Page<C::Message>, Failure> {
    let pages = Pages { list: C::Spec::KIND.collection(), store: core.configuration.store_uuid() };
    let after = pages.after(page_token, |key| key.parse::<ResourceId>().ok())?;
    let observed = core.observe(C::ASKED).await;
    let state = core.state();
    let (page, next_page_token) =
        pages.take(state.after::<C::Spec>(after.as_ref()), page_size, |last| last.id.to_string());
    let seen = Seen { state: &state, observed: &observed };
    let resources = page.into_iter().map(|stored| C::message(stored, Some(seen))).collect();
    Ok(Page { resources, next_page_token, revision: state.revision().0 })
}

/// What a Create or an Update answers with: the resource as it was committed.
fn answer<C: Collection>(core: &Core, committed: &Committed) -> Result<(C::Message, u64), Failure> {
    let after = committed.changes.first().and_then(|change| change.after.as_ref());
    let missing = || {
        Fault::new(
            tonic::Code::Internal,
            ErrorReason::InternalFault,
            "the change has no resource of its kind",
        )
    };
    let stored = after.and_then(C::Spec::of).ok_or_else(missing)?;
    let seen = Seen { state: &core.state(), observed: &core.observe_now() };
    Ok((C::message(stored, Some(seen)), committed.revision.0))
}

#[cfg(test)]
mod tests {
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::services::{Bridges, FdbEntries, FlowRules, Ports, TunnelPeers, Vteps};

    #[test]
    fn update_masks_know_every_field_of_every_spec() {
        let set = FileDescriptorSet::decode(nic_proto::FILE_DESCRIPTOR_SET).expect("a description");
        let messages: Vec<_> = set.file.iter().flat_map(|file| &file.message_type).collect();
        let compare = |name: &str, known: Vec<&str>| {
            let spec = messages.iter().find(|message| message.name() == format!("{name}Spec"));
            let fields: Vec<&str> = spec.expect("a spec").field.iter().map(|field| field.name()).collect();
            assert_eq!(known, fields, "{name}");
        };
        fn of<C: Collection>() -> (&'static str, Vec<&'static str>) {
            (C::NAME, C::FIELDS.iter().map(|field| field.0).collect())
        }
        let all = [
            of::<Bridges>(),
            of::<FdbEntries>(),
            of::<FlowRules>(),
            of::<Ports>(),
            of::<TunnelPeers>(),
            of::<Vteps>(),
        ];
        assert_eq!(all.len(), nic_model::Kind::COUNT);
        for (name, known) in all {
            compare(name, known);
        }
    }
}
