//! Bridges, VTEPs, tunnel peers and FDB entries.

use nic_policy::{Device, NeighborState, NeighborView, Network, Revision, VtepId};
use nic_proto::v1 as pb;
use pb::bridge_service_client::BridgeServiceClient;
use pb::condition::Status as Condition;
use pb::fdb_entry_service_client::FdbEntryServiceClient;
use pb::resource::Kind;
use pb::tunnel_peer_service_client::TunnelPeerServiceClient;
use pb::vtep_service_client::VtepServiceClient;
use pbjson_types::FieldMask;
use tonic::Code;
use tonic::transport::Channel;

use crate::lab::{Lab, bridge, condition, failure, fdb_entry, metadata, overlay, port, tunnel_peer, vtep};

fn bridges(lab: &Lab) -> BridgeServiceClient<Channel> {
    BridgeServiceClient::new(lab.channel.clone())
}

fn vteps(lab: &Lab) -> VtepServiceClient<Channel> {
    VtepServiceClient::new(lab.channel.clone())
}

fn peers(lab: &Lab) -> TunnelPeerServiceClient<Channel> {
    TunnelPeerServiceClient::new(lab.channel.clone())
}

fn entries(lab: &Lab) -> FdbEntryServiceClient<Channel> {
    FdbEntryServiceClient::new(lab.channel.clone())
}

fn mask(path: &str) -> Option<FieldMask> {
    Some(FieldMask { paths: vec![path.to_owned()] })
}

fn violations(expected: &[(&str, &str)]) -> (Code, String, Vec<(String, String)>) {
    let all = expected.iter().map(|(field, reason)| ((*field).to_owned(), (*reason).to_owned())).collect();
    (Code::InvalidArgument, expected[0].1.to_owned(), all)
}

#[tokio::test]
async fn a_bridge_is_created_read_listed_changed_and_deleted() {
    let lab = Lab::with_ports().await;
    let create = |bridge_id: &str, spec| pb::CreateBridgeRequest {
        bridge_id: bridge_id.to_owned(),
        bridge: Some(pb::Bridge { spec: Some(spec), ..pb::Bridge::default() }),
        request_id: String::new(),
    };
    let created = bridges(&lab).create_bridge(create("red", pb::BridgeSpec::default())).await;
    let created = created.expect("created").into_inner().bridge.expect("a bridge");
    let spec = created.spec.clone().expect("a spec");
    assert_eq!(
        (created.name.as_str(), spec.ageing_time, spec.unknown_unicast()),
        ("bridges/red", 300, pb::bridge_spec::UnknownUnicast::Flood)
    );
    let read = bridges(&lab).get_bridge(pb::GetBridgeRequest { name: created.name.clone() }).await;
    assert_eq!(read.expect("there").into_inner(), created);
    let update = pb::UpdateBridgeRequest {
        bridge: Some(pb::Bridge {
            spec: Some(pb::BridgeSpec {
                suppression: true,
                unknown_unicast: pb::bridge_spec::UnknownUnicast::Drop.into(),
                ageing_time: 999,
                ..pb::BridgeSpec::default()
            }),
            ..bridge("bridges/red", "", 0)
        }),
        update_mask: Some(FieldMask {
            paths: vec!["spec.suppression".to_owned(), "spec.unknown_unicast".to_owned()],
        }),
        request_id: String::new(),
    };
    let updated = bridges(&lab).update_bridge(update).await.expect("changed").into_inner();
    let spec = updated.bridge.and_then(|bridge| bridge.spec).expect("a spec");
    assert_eq!(
        (spec.suppression, spec.unknown_unicast(), spec.ageing_time),
        (true, pb::bridge_spec::UnknownUnicast::Drop, 300)
    );
    let bad = pb::BridgeSpec {
        vtep: "ports/pf0".to_owned(),
        vni: 1 << 24,
        unknown_unicast: 7,
        ageing_time: 19,
        suppression: false,
    };
    let found = failure(bridges(&lab).create_bridge(create("bad", bad)).await);
    let expected = violations(&[
        ("spec.vtep", "NAME_INVALID"),
        ("spec.vni", "FIELD_OUT_OF_RANGE"),
        ("spec.ageingTime", "FIELD_OUT_OF_RANGE"),
        ("spec.unknownUnicast", "FIELD_MALFORMED"),
    ]);
    assert_eq!(found, expected);
    let missing = pb::BridgeSpec { vtep: "vteps/v9".to_owned(), vni: 1, ..pb::BridgeSpec::default() };
    let found = bridges(&lab).create_bridge(create("bad", missing)).await;
    assert_eq!(metadata(&found, "reference").as_deref(), Some("vteps/v9"));
    assert_eq!(failure(found), violations(&[("spec.vtep", "REFERENCE_NOT_FOUND")]));
    let delete = pb::DeleteBridgeRequest { name: "bridges/red".to_owned(), ..Default::default() };
    assert_eq!(bridges(&lab).delete_bridge(delete).await.expect("deleted").into_inner().revision, 5);
    let list = bridges(&lab).list_bridges(pb::ListBridgesRequest::default()).await;
    assert_eq!(list.expect("a page").into_inner().bridges, []);
}

#[tokio::test]
async fn a_vtep_is_created_read_listed_changed_and_deleted() {
    let lab = Lab::with_ports().await;
    let create = |vtep_id: &str, spec| pb::CreateVtepRequest {
        vtep_id: vtep_id.to_owned(),
        vtep: Some(pb::Vtep { spec: Some(spec), ..pb::Vtep::default() }),
        request_id: String::new(),
    };
    let spec = pb::VtepSpec {
        port: "ports/pf0".to_owned(),
        address: "192.0.2.1/24".to_owned(),
        ..pb::VtepSpec::default()
    };
    let created = vteps(&lab).create_vtep(create("v0", spec.clone())).await;
    let created = created.expect("created").into_inner().vtep.expect("a VTEP");
    let status = created.status.clone().expect("a status");
    assert_eq!(status.mac_address, "02:4e:c0:00:02:01");
    let filled = pb::VtepSpec { ttl: 64, ..spec.clone() };
    assert_eq!(created.spec, Some(filled));
    let list = vteps(&lab).list_vteps(pb::ListVtepsRequest::default()).await.expect("a page").into_inner();
    assert_eq!((list.vteps, list.revision), (vec![created], 3));
    let change = pb::VtepSpec { mac_address: "02:00:00:00:00:01".to_owned(), ..pb::VtepSpec::default() };
    let update = pb::UpdateVtepRequest {
        vtep: Some(pb::Vtep { spec: Some(change), ..vtep("vteps/v0", "", "") }),
        update_mask: mask("spec.mac_address"),
        request_id: String::new(),
    };
    let updated = vteps(&lab).update_vtep(update).await.expect("changed").into_inner().vtep;
    assert_eq!(updated.and_then(|vtep| vtep.status).map(|s| s.mac_address), Some("02:00:00:00:00:01".into()));
    let bad = pb::VtepSpec {
        port: String::new(),
        vlan: 4095,
        address: "192.0.2.0/24".to_owned(),
        gateway: "fe80::g".to_owned(),
        mac_address: "01:00:00:00:00:01".to_owned(),
        ttl: 256,
        dscp: 64,
    };
    let found = failure(vteps(&lab).create_vtep(create("bad", bad)).await);
    let expected = violations(&[
        ("spec.port", "FIELD_REQUIRED"),
        ("spec.vlan", "FIELD_OUT_OF_RANGE"),
        ("spec.address", "FIELD_MALFORMED"),
        ("spec.gateway", "FIELD_MALFORMED"),
        ("spec.macAddress", "FIELD_MALFORMED"),
        ("spec.ttl", "FIELD_OUT_OF_RANGE"),
        ("spec.dscp", "FIELD_OUT_OF_RANGE"),
    ]);
    assert_eq!(found, expected);
    let again = vteps(&lab).create_vtep(create("twin", spec.clone())).await;
    assert_eq!(metadata(&again, "resource").as_deref(), Some("vteps/v0"));
    assert_eq!(failure(again), violations(&[("spec.address", "FIELD_IN_USE")]));
    let tenant = pb::VtepSpec { port: "ports/vm1".to_owned(), ..spec };
    let tenant = vteps(&lab).create_vtep(create("bad", tenant)).await;
    assert_eq!(metadata(&tenant, "reference").as_deref(), Some("ports/vm1"));
    assert_eq!(failure(tenant), violations(&[("spec.port", "REFERENCE_UNFIT")]));
    let delete = pb::DeleteVtepRequest { name: "vteps/v0".to_owned(), ..Default::default() };
    vteps(&lab).delete_vtep(delete).await.expect("deleted");
    let get = vteps(&lab).get_vtep(pb::GetVtepRequest { name: "vteps/v0".to_owned() }).await;
    assert_eq!(failure(get).0, Code::NotFound);
}

#[tokio::test]
async fn a_tunnel_peer_is_created_read_listed_changed_and_deleted() {
    let lab = Lab::with_overlay().await;
    let create = |peer: pb::TunnelPeer| pb::CreateTunnelPeerRequest {
        tunnel_peer_id: "other".to_owned(),
        tunnel_peer: Some(peer),
        request_id: String::new(),
    };
    let sent = tunnel_peer("", "192.0.2.3", &["bridges/red"]);
    let created = peers(&lab).create_tunnel_peer(create(sent)).await.expect("created").into_inner();
    let created = created.tunnel_peer.expect("a peer");
    assert_eq!(created.spec.as_ref().map(|spec| (spec.mac_limit, spec.bridges.len())), Some((16_384, 1)));
    let page = pb::ListTunnelPeersRequest { page_size: 1, page_token: String::new() };
    let page = peers(&lab).list_tunnel_peers(page).await.expect("a page").into_inner();
    assert_eq!(page.tunnel_peers[0].name, "tunnelPeers/far");
    let page = pb::ListTunnelPeersRequest { page_size: 1, page_token: page.next_page_token };
    let page = peers(&lab).list_tunnel_peers(page).await.expect("a page").into_inner();
    assert_eq!((page.tunnel_peers.as_slice(), page.next_page_token.as_str()), (&[created][..], ""));
    let update = pb::UpdateTunnelPeerRequest {
        tunnel_peer: Some(tunnel_peer("tunnelPeers/other", "", &[])),
        update_mask: mask("spec.bridges"),
        request_id: String::new(),
    };
    let updated = peers(&lab).update_tunnel_peer(update).await.expect("changed").into_inner().tunnel_peer;
    let spec = updated.and_then(|peer| peer.spec).expect("a spec");
    assert_eq!((spec.address.as_str(), spec.bridges.len()), ("192.0.2.3", 0));
    let mut bad = tunnel_peer("", "224.0.0.1", &["bridges/red", "bridges/red", "red"]);
    bad.spec.as_mut().expect("a spec").mac_limit = 65_537;
    let expected = violations(&[
        ("spec.address", "FIELD_MALFORMED"),
        ("spec.bridges[1]", "FIELD_CONFLICT"),
        ("spec.bridges[2]", "NAME_INVALID"),
        ("spec.macLimit", "FIELD_OUT_OF_RANGE"),
    ]);
    assert_eq!(failure(peers(&lab).create_tunnel_peer(create(bad)).await), expected);
    let delete = pb::DeleteTunnelPeerRequest { name: "tunnelPeers/far".to_owned(), ..Default::default() };
    let refused = peers(&lab).delete_tunnel_peer(delete.clone()).await;
    assert_eq!(metadata(&refused, "referrer").as_deref(), Some("fdbEntries/far-vm"));
    assert_eq!(failure(refused).1, "RESOURCE_REFERENCED");
    let other = pb::DeleteTunnelPeerRequest { name: "tunnelPeers/other".to_owned(), ..delete };
    peers(&lab).delete_tunnel_peer(other).await.expect("deleted");
}

#[tokio::test]
async fn an_fdb_entry_is_created_read_listed_changed_and_deleted() {
    let lab = Lab::with_overlay().await;
    let create = |spec: pb::FdbEntrySpec| pb::CreateFdbEntryRequest {
        fdb_entry_id: "here".to_owned(),
        fdb_entry: Some(pb::FdbEntry { spec: Some(spec), ..pb::FdbEntry::default() }),
        request_id: String::new(),
    };
    let spec = pb::FdbEntrySpec {
        bridge: "bridges/red".to_owned(),
        mac_address: "02:00:00:00:00:01".to_owned(),
        port: "ports/vm1".to_owned(),
        tunnel_peer: String::new(),
        addresses: vec!["10.0.0.1".to_owned()],
    };
    let created = entries(&lab).create_fdb_entry(create(spec.clone())).await.expect("created").into_inner();
    let created = created.fdb_entry.expect("an entry");
    assert_eq!(created.spec.as_ref(), Some(&spec));
    let list = entries(&lab).list_fdb_entries(pb::ListFdbEntriesRequest::default()).await.expect("a page");
    let names: Vec<String> = list.into_inner().fdb_entries.into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["fdbEntries/far-vm", "fdbEntries/here"]);
    let moved = pb::FdbEntrySpec {
        port: String::new(),
        tunnel_peer: "tunnelPeers/far".to_owned(),
        ..pb::FdbEntrySpec::default()
    };
    let update = |paths: &[&str]| pb::UpdateFdbEntryRequest {
        fdb_entry: Some(pb::FdbEntry { spec: Some(moved.clone()), ..fdb_entry("fdbEntries/here", "") }),
        update_mask: Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
        request_id: String::new(),
    };
    let both = failure(entries(&lab).update_fdb_entry(update(&["spec.tunnel_peer"])).await);
    assert_eq!(both, violations(&[("spec.tunnelPeer", "FIELD_CONFLICT")]));
    let updated = entries(&lab).update_fdb_entry(update(&["spec.tunnel_peer", "spec.port"])).await;
    let spec = updated.expect("changed").into_inner().fdb_entry.and_then(|entry| entry.spec).expect("a spec");
    assert_eq!((spec.port.as_str(), spec.tunnel_peer.as_str()), ("", "tunnelPeers/far"));
    let bad = pb::FdbEntrySpec {
        mac_address: "ff:ff:ff:ff:ff:ff".to_owned(),
        addresses: vec!["10.0.0.1".to_owned(), "10.0.0.256".to_owned()],
        ..pb::FdbEntrySpec::default()
    };
    let expected = violations(&[
        ("spec.bridge", "FIELD_REQUIRED"),
        ("spec.macAddress", "FIELD_MALFORMED"),
        ("spec.port", "FIELD_CONFLICT"),
        ("spec.addresses[1]", "FIELD_MALFORMED"),
    ]);
    assert_eq!(failure(entries(&lab).create_fdb_entry(create(bad)).await), expected);
    let delete = pb::DeleteFdbEntryRequest { name: "fdbEntries/here".to_owned(), ..Default::default() };
    entries(&lab).delete_fdb_entry(delete).await.expect("deleted");
    let get =
        entries(&lab).get_fdb_entry(pb::GetFdbEntryRequest { name: "fdbEntries/here".to_owned() }).await;
    assert_eq!(failure(get).0, Code::NotFound);
}

#[tokio::test]
async fn all_kinds_are_applied_in_one_stream_in_any_order_and_pruned_together() {
    let header = |prune| pb::ApplyHeader { apply_set: "lab".to_owned(), prune, ..Default::default() };
    let mut resources = overlay();
    for _ in 0..resources.len() {
        resources.rotate_left(1);
        let lab = Lab::new().await;
        let done = lab.apply(header(false), resources.clone()).await.expect("applied");
        assert_eq!((done.revision, done.changes.len()), (1, 7));
        let again = lab.apply(header(true), resources.clone()).await.expect("applied");
        assert_eq!(again.revision, 1);
        // The ports alone are left: what refers to them goes with what it refers to.
        let ports = resources.iter().filter(|kind| matches!(kind, Kind::Port(_))).cloned();
        let detached = ports.map(|kind| match kind {
            Kind::Port(mut port) => {
                port.spec.as_mut().expect("a spec").bridge = String::new();
                Kind::Port(port)
            }
            other => other,
        });
        let pruned = lab.apply(header(true), detached.collect()).await.expect("applied");
        let deleted = pruned.changes.iter().filter(|change| change.action() == pb::change::Action::Delete);
        let deleted: Vec<&str> = deleted.map(|change| change.name.as_str()).collect();
        assert_eq!(
            deleted,
            ["bridges/red", "fdbEntries/far-vm", "flowRules/up", "tunnelPeers/far", "vteps/v0"]
        );
        let vm1 = pruned.changes.iter().find(|change| change.name == "ports/vm1").expect("sent");
        assert_eq!(vm1.diff[0].path, "spec.bridge");
        assert_eq!((vm1.diff[0].before.as_str(), vm1.diff[0].after.as_str()), ("\"bridges/red\"", ""));
    }
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused_by_the_field_of_the_resource_sent() {
    let lab = Lab::with_overlay().await;
    let header = pb::ApplyHeader { apply_set: "lab".to_owned(), ..Default::default() };
    let mut large = port("ports/vm1", "pf0vf0");
    let spec = large.spec.as_mut().expect("a spec");
    (spec.mtu, spec.bridge) = (8951, "bridges/red".to_owned());
    let refused = lab.apply(header.clone(), vec![Kind::Port(large)]).await;
    assert_eq!(metadata(&refused, "resource").as_deref(), Some("ports/pf0"));
    assert_eq!(failure(refused), violations(&[("resources[0].spec.mtu", "TUNNEL_MTU")]));
    let twin = bridge("bridges/blue", "vteps/v0", 16);
    let refused = lab.apply(header, vec![Kind::Bridge(twin)]).await;
    assert_eq!(failure(refused), violations(&[("resources[0].spec.vni", "FIELD_IN_USE")]));
    let delete = pb::DeleteVtepRequest { name: "vteps/v0".to_owned(), ..Default::default() };
    let refused = failure(vteps(&lab).delete_vtep(delete).await);
    assert_eq!((refused.0, refused.1.as_str()), (Code::FailedPrecondition, "RESOURCE_REFERENCED"));
    let delete = pb::DeleteBridgeRequest { name: "bridges/red".to_owned(), ..Default::default() };
    let refused = failure(bridges(&lab).delete_bridge(delete).await);
    assert_eq!((refused.0, refused.1.as_str()), (Code::FailedPrecondition, "RESOURCE_REFERENCED"));
    let delete = pb::DeletePortRequest { name: "ports/pf0".to_owned(), ..Default::default() };
    assert_eq!(failure(lab.ports().delete_port(delete).await).0, Code::FailedPrecondition);
}

/// The conditions of the one tunnel peer.
async fn peer_conditions(lab: &Lab) -> Vec<pb::Condition> {
    let request = pb::GetTunnelPeerRequest { name: "tunnelPeers/far".to_owned() };
    let peer = peers(lab).get_tunnel_peer(request).await.expect("there").into_inner();
    peer.status.expect("a status").conditions
}

#[tokio::test]
async fn conditions_tell_whether_tunnels_can_be_used() {
    let lab = Lab::with_overlay().await;
    let is = |status, reason: &str| (status, reason.to_owned());
    let conditions = peer_conditions(&lab).await;
    assert_eq!(condition(&conditions, "Accepted"), is(Condition::True, "Valid"));
    assert_eq!(condition(&conditions, "Reachable"), is(Condition::Unknown, "DatapathUnavailable"));
    {
        let mut view = lab.datapath.view.lock().expect("not poisoned");
        view.connected = true;
        view.applied = Revision(1);
        let port = "p0".parse().expect("a device");
        view.devices = vec![Device { port, link_up: true, mtu: 9000, mac: Default::default() }];
    }
    assert_eq!(condition(&peer_conditions(&lab).await, "Reachable"), is(Condition::Unknown, "NotTried"));
    let vtep_uid = VtepId(lab.uid_of("vteps/v0").await);
    for (state, expected) in [
        (NeighborState::Incomplete, is(Condition::Unknown, "Resolving")),
        (NeighborState::Reachable, is(Condition::True, "Resolved")),
        (NeighborState::Probe, is(Condition::True, "Resolved")),
        (NeighborState::Failed, is(Condition::False, "Unresolved")),
    ] {
        *lab.datapath.neighbors.lock().expect("not poisoned") = vec![NeighborView {
            network: Network::Underlay(vtep_uid),
            address: "192.0.2.2".parse().expect("an address"),
            mac: None,
            state,
            age: std::time::Duration::ZERO,
        }];
        let conditions = peer_conditions(&lab).await;
        assert_eq!(condition(&conditions, "Reachable"), expected);
        assert_eq!(condition(&conditions, "Programmed"), is(Condition::True, "Applied"));
    }
    let update = pb::UpdateTunnelPeerRequest {
        tunnel_peer: Some(tunnel_peer("tunnelPeers/far", "198.51.100.2", &[])),
        update_mask: mask("spec.address"),
        request_id: String::new(),
    };
    peers(&lab).update_tunnel_peer(update).await.expect("changed");
    let conditions = peer_conditions(&lab).await;
    assert_eq!(condition(&conditions, "Reachable"), is(Condition::False, "NoRoute"));
    assert_eq!(condition(&conditions, "Programmed"), is(Condition::False, "Pending"));
    let vtep = vteps(&lab).get_vtep(pb::GetVtepRequest { name: "vteps/v0".to_owned() }).await;
    let conditions = vtep.expect("there").into_inner().status.expect("a status").conditions;
    assert_eq!(condition(&conditions, "Present"), is(Condition::True, "Present"));
    lab.datapath.view.lock().expect("not poisoned").devices.clear();
    let vtep = vteps(&lab).get_vtep(pb::GetVtepRequest { name: "vteps/v0".to_owned() }).await;
    let conditions = vtep.expect("there").into_inner().status.expect("a status").conditions;
    assert_eq!(condition(&conditions, "Present"), is(Condition::False, "Absent"));
}
