//! What the services share: the seams, and the steps that every mutation takes.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use nic_flow::PortId;
use nic_model::{Desired, Kind, Name, Operation, Resource, ResourceId, Spec, State, Time, Transaction};
use nic_policy::ObjectId;
use nic_proto::v1::ErrorReason;
use prost::Message;
use uuid::Uuid;

use crate::call;
use crate::condition::{Asked, Observed};
use crate::convert::name;
use crate::failure::{Failure, Fault};
use crate::health::Health;
use crate::seam::{Committed, Configuration, Datapath, RequestKey};

/// How often an update of some fields is tried again because the resource changed meanwhile.
const MAX_TRIES: usize = 16;

/// What every service has.
pub(crate) struct Core {
    pub(crate) configuration: Arc<dyn Configuration>,
    pub(crate) datapath: Arc<dyn Datapath>,
    pub(crate) health: Arc<Health>,
    pub(crate) version: String,
    pub(crate) started: SystemTime,
}

impl Core {
    pub(crate) fn state(&self) -> Arc<State> {
        self.configuration.state()
    }

    /// What the datapath said by itself.
    pub(crate) fn observe_now(&self) -> Observed {
        Observed::new(self.datapath.view())
    }

    /// The same with what it is asked for, where it can be asked.
    pub(crate) async fn observe(&self, asked: Asked) -> Observed {
        let observed = self.observe_now();
        match asked {
            Asked::Nothing => observed,
            Asked::Flows => match self.datapath.flows(None).await {
                Ok(flows) => observed.with_flows(&flows),
                Err(_) => observed,
            },
            Asked::Neighbors => match self.datapath.neighbors(None).await {
                Ok(neighbors) => observed.with_neighbors(&neighbors),
                Err(_) => observed,
            },
        }
    }

    /// Does one operation.
    pub(crate) async fn commit(
        &self,
        operation: Operation,
        key: Option<RequestKey>,
    ) -> Result<Committed, Failure> {
        let transaction = Transaction { time: now(), operation };
        Ok(self.configuration.submit(transaction, key, call::current()).await?)
    }

    /// Replaces the spec of a resource by what `merge` makes of the current one. Without an etag from
    /// the client, one that changed meanwhile is read again and merged again.
    pub(crate) async fn update(
        &self,
        name: &Name,
        etag: &str,
        key: Option<RequestKey>,
        merge: impl Fn(&Resource) -> Result<Spec, Failure> + Send + Sync,
    ) -> Result<Committed, Failure> {
        let mut tries = 0;
        loop {
            let current = self.state().get(name).ok_or_else(|| Fault::not_found(name))?;
            let expected = if etag.is_empty() { current.meta().etag() } else { etag.to_owned() };
            let desired = Desired { id: name.id.clone(), spec: merge(&current)?, etag: Some(expected) };
            tries += 1;
            match self.commit(Operation::Update(desired), key.clone()).await {
                Err(failure) if etag.is_empty() && failure.is_stale() && tries < MAX_TRIES => {}
                result => return result,
            }
        }
    }

    /// The device that a Port named in a request stands for; `None` if the field is empty.
    pub(crate) fn device(&self, field: &str, name: &str) -> Result<Option<PortId>, Failure> {
        if name.is_empty() {
            return Ok(None);
        }
        let id = parse_name(Kind::Port, field, name)?;
        let device = self.state().device(&id);
        device.map(Some).ok_or_else(|| Fault::not_found(&Kind::Port.name(id)).into())
    }
}

/// The name of the resource that a policy object comes from; `None` if it is gone.
pub(crate) fn object_name(state: &State, object: ObjectId) -> Option<String> {
    let (kind, id) = match object {
        ObjectId::Port(device) => (Kind::Port, &state.port_of_device(device)?.id),
        ObjectId::FlowRule(id) => (Kind::FlowRule, &state.flow_rule_of_policy(id)?.id),
        ObjectId::Bridge(id) => (Kind::Bridge, &state.bridge_of_policy(id)?.id),
        ObjectId::Vtep(id) => (Kind::Vtep, &state.vtep_of_policy(id)?.id),
        ObjectId::TunnelPeer(vtep, address) => {
            let vtep = &state.vtep_of_policy(vtep)?.id;
            (Kind::TunnelPeer, &state.tunnel_peer_of_address(vtep, address)?.id)
        }
        ObjectId::FdbEntry(bridge, mac) => {
            let bridge = &state.bridge_of_policy(bridge)?.id;
            (Kind::FdbEntry, &state.fdb_entry_of_station(bridge, mac)?.id)
        }
    };
    Some(name(kind, id))
}

/// The Port of a device; empty if there is none.
pub(crate) fn port_name(state: &State, device: PortId) -> String {
    object_name(state, ObjectId::Port(device)).unwrap_or_default()
}

/// The id in a resource name of the request.
pub(crate) fn parse_name(kind: Kind, field: &str, name: &str) -> Result<ResourceId, Failure> {
    kind.parse(name).map_err(|error| Fault::name(field, error).into())
}

/// The id of a resource to be created.
pub(crate) fn parse_id(kind: Kind, field: &str, id: &str) -> Result<ResourceId, Failure> {
    kind.id(id).map_err(|error| Fault::name(field, error).into())
}

/// What a client sent as a request id, with the request that it stands for.
pub(crate) fn request_key(
    method: &str,
    id: &str,
    messages: &[&(dyn EncodedLen + Sync)],
) -> Result<Option<RequestKey>, Failure> {
    if id.is_empty() {
        return Ok(None);
    }
    let id = Uuid::parse_str(id)
        .map_err(|_| Fault::argument(ErrorReason::FieldMalformed, "requestId", "it must be a UUID"))?;
    let mut content = method.as_bytes().to_vec();
    for message in messages {
        content.extend(message.encoded());
    }
    Ok(Some(RequestKey { id: id.as_u128(), content }))
}

/// A message that encodes itself with its length in front.
pub(crate) trait EncodedLen {
    fn encoded(&self) -> Vec<u8>;
}

impl<M: Message> EncodedLen for M {
    fn encoded(&self) -> Vec<u8> {
        self.encode_length_delimited_to_vec()
    }
}

/// The clock's time.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
