//! FdbEntryService.

use std::sync::Arc;

use nic_model::{FdbEntryFields, FdbEntrySpec, Kind, Spec, StationPlace, Stored, Violation};
use nic_proto::v1 as pb;
use nic_proto::v1::fdb_entry_service_server::FdbEntryService;
use tonic::{Request, Response, Status};

use super::collection::{Collection, Field, Mutation, Seen, Sent, create, delete, get, list, update};
use crate::convert::{metadata, name};
use crate::core::Core;

pub(crate) struct FdbEntries(pub(crate) Arc<Core>);

impl Collection for FdbEntries {
    const NAME: &'static str = "FdbEntry";
    const ID_FIELD: &'static str = "fdbEntryId";
    const FIELDS: &'static [Field<pb::FdbEntrySpec>] = &[
        ("bridge", |from, into| into.bridge.clone_from(&from.bridge)),
        ("mac_address", |from, into| into.mac_address.clone_from(&from.mac_address)),
        ("port", |from, into| into.port.clone_from(&from.port)),
        ("tunnel_peer", |from, into| into.tunnel_peer.clone_from(&from.tunnel_peer)),
        ("addresses", |from, into| into.addresses.clone_from(&from.addresses)),
    ];
    type Message = pb::FdbEntry;
    type Wire = pb::FdbEntrySpec;
    type Spec = FdbEntrySpec;

    fn sent(message: &pb::FdbEntry) -> Sent<'_, pb::FdbEntrySpec> {
        Sent { name: &message.name, etag: &message.etag, spec: message.spec.as_ref() }
    }

    fn parse(spec: &pb::FdbEntrySpec) -> Result<Spec, Vec<Violation>> {
        let fields = FdbEntryFields {
            bridge: &spec.bridge,
            mac_address: &spec.mac_address,
            port: &spec.port,
            tunnel_peer: &spec.tunnel_peer,
            addresses: &spec.addresses,
        };
        FdbEntrySpec::parse(&fields).map(Spec::FdbEntry)
    }

    fn wire(spec: &FdbEntrySpec) -> pb::FdbEntrySpec {
        let place = spec.place().name().to_string();
        let (port, tunnel_peer) = match spec.place() {
            StationPlace::Port(_) => (place, String::new()),
            StationPlace::TunnelPeer(_) => (String::new(), place),
        };
        pb::FdbEntrySpec {
            bridge: name(Kind::Bridge, spec.bridge()),
            mac_address: spec.mac_address().to_string(),
            port,
            tunnel_peer,
            addresses: spec.addresses().iter().map(ToString::to_string).collect(),
        }
    }

    fn message(fdb_entry: &Stored<FdbEntrySpec>, seen: Option<Seen<'_>>) -> pb::FdbEntry {
        pb::FdbEntry {
            name: name(Kind::FdbEntry, &fdb_entry.id),
            spec: Some(FdbEntries::wire(&fdb_entry.spec)),
            status: seen.map(|seen| status(fdb_entry, seen)),
            etag: fdb_entry.meta.etag(),
            metadata: Some(metadata(&fdb_entry.meta)),
        }
    }
}

fn status(entry: &Stored<FdbEntrySpec>, seen: Seen<'_>) -> pb::FdbEntryStatus {
    pb::FdbEntryStatus { conditions: seen.observed.of_fdb_entry(seen.state, entry) }
}

#[tonic::async_trait]
impl FdbEntryService for FdbEntries {
    async fn create_fdb_entry(
        &self,
        request: Request<pb::CreateFdbEntryRequest>,
    ) -> Result<Response<pb::CreateFdbEntryResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let (fdb_entry, revision) =
            create::<FdbEntries>(&self.0, mutation, &request.fdb_entry_id, request.fdb_entry.as_ref())
                .await?;
        Ok(Response::new(pb::CreateFdbEntryResponse { fdb_entry: Some(fdb_entry), revision }))
    }

    async fn get_fdb_entry(
        &self,
        request: Request<pb::GetFdbEntryRequest>,
    ) -> Result<Response<pb::FdbEntry>, Status> {
        Ok(Response::new(get::<FdbEntries>(&self.0, &request.get_ref().name).await?))
    }

    async fn list_fdb_entries(
        &self,
        request: Request<pb::ListFdbEntriesRequest>,
    ) -> Result<Response<pb::ListFdbEntriesResponse>, Status> {
        let request = request.get_ref();
        let page = list::<FdbEntries>(&self.0, request.page_size, &request.page_token).await?;
        Ok(Response::new(pb::ListFdbEntriesResponse {
            fdb_entries: page.resources,
            next_page_token: page.next_page_token,
            revision: page.revision,
        }))
    }

    async fn update_fdb_entry(
        &self,
        request: Request<pb::UpdateFdbEntryRequest>,
    ) -> Result<Response<pb::UpdateFdbEntryResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let (sent, mask) = (request.fdb_entry.as_ref(), request.update_mask.as_ref());
        let (fdb_entry, revision) = update::<FdbEntries>(&self.0, mutation, sent, mask).await?;
        Ok(Response::new(pb::UpdateFdbEntryResponse { fdb_entry: Some(fdb_entry), revision }))
    }

    async fn delete_fdb_entry(
        &self,
        request: Request<pb::DeleteFdbEntryRequest>,
    ) -> Result<Response<pb::DeleteFdbEntryResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let revision = delete::<FdbEntries>(&self.0, mutation, &request.name, &request.etag).await?;
        Ok(Response::new(pb::DeleteFdbEntryResponse { revision }))
    }
}
