//! The calls of each kind's service. They are the same calls for every kind, by other names.

use nic_proto::v1::{self, Resource, resource};

use crate::client::Client;
use crate::failure::Failure;
use crate::files::Kind;

macro_rules! kinds {
    ($($kind:ident, $service:ident :: $client:ident, $field:ident:
        $get:ident $get_request:ident, $list:ident $list_request:ident, $delete:ident $delete_request:ident;)*) => {
        /// One resource.
        pub(super) async fn get(client: &Client, kind: Kind, name: String) -> Result<Resource, Failure> {
            let found = match kind {
                $(Kind::$kind => {
                    let mut service = v1::$service::$client::new(client.channel());
                    let request = client.request(v1::$get_request { name });
                    resource::Kind::$kind(service.$get(request).await?.into_inner())
                })*
            };
            Ok(Resource { kind: Some(found) })
        }

        /// All resources of a kind.
        pub(super) async fn list(client: &Client, kind: Kind) -> Result<Vec<Resource>, Failure> {
            let mut all = Vec::new();
            let mut page_token = String::new();
            loop {
                match kind {
                    $(Kind::$kind => {
                        let mut service = v1::$service::$client::new(client.channel());
                        let request = client.request(v1::$list_request { page_size: 0, page_token });
                        let response = service.$list(request).await?.into_inner();
                        let page = response.$field.into_iter().map(resource::Kind::$kind);
                        all.extend(page.map(|kind| Resource { kind: Some(kind) }));
                        page_token = response.next_page_token;
                    })*
                }
                if page_token.is_empty() {
                    return Ok(all);
                }
            }
        }

        /// Deletes one resource; gives the revision.
        pub(super) async fn delete(
            client: &Client,
            kind: Kind,
            name: String,
            etag: String,
            request_id: String,
        ) -> Result<u64, Failure> {
            Ok(match kind {
                $(Kind::$kind => {
                    let mut service = v1::$service::$client::new(client.channel());
                    let request = client.request(v1::$delete_request { name, etag, request_id });
                    service.$delete(request).await?.into_inner().revision
                })*
            })
        }

        /// The name of a resource, and its conditions.
        pub(crate) fn facts(resource: &Resource) -> (&str, &[v1::Condition]) {
            match &resource.kind {
                $(Some(resource::Kind::$kind(it)) => {
                    (&it.name, it.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default())
                })*
                None => ("", &[]),
            }
        }

        /// What kind of resource it is.
        pub(crate) fn kind_of(resource: &Resource) -> Option<Kind> {
            match &resource.kind {
                $(Some(resource::Kind::$kind(_)) => Some(Kind::$kind),)*
                None => None,
            }
        }
    };
}

kinds! {
    Port, port_service_client::PortServiceClient, ports:
        get_port GetPortRequest, list_ports ListPortsRequest, delete_port DeletePortRequest;
    FlowRule, flow_rule_service_client::FlowRuleServiceClient, flow_rules:
        get_flow_rule GetFlowRuleRequest, list_flow_rules ListFlowRulesRequest,
        delete_flow_rule DeleteFlowRuleRequest;
    Bridge, bridge_service_client::BridgeServiceClient, bridges:
        get_bridge GetBridgeRequest, list_bridges ListBridgesRequest, delete_bridge DeleteBridgeRequest;
    Vtep, vtep_service_client::VtepServiceClient, vteps:
        get_vtep GetVtepRequest, list_vteps ListVtepsRequest, delete_vtep DeleteVtepRequest;
    TunnelPeer, tunnel_peer_service_client::TunnelPeerServiceClient, tunnel_peers:
        get_tunnel_peer GetTunnelPeerRequest, list_tunnel_peers ListTunnelPeersRequest,
        delete_tunnel_peer DeleteTunnelPeerRequest;
    FdbEntry, fdb_entry_service_client::FdbEntryServiceClient, fdb_entries:
        get_fdb_entry GetFdbEntryRequest, list_fdb_entries ListFdbEntriesRequest,
        delete_fdb_entry DeleteFdbEntryRequest;
}
