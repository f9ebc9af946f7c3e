//! What the datapath learned, in pages.

use std::time::Duration;

use nic_flow::MacAddr;
use nic_policy::{BridgeId, FdbView, NeighborState, NeighborView, Network, Place, VtepId};
use nic_proto::v1 as pb;
use pb::learned_service_client::LearnedServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::lab::{Lab, failure};

/// A server with an overlay, whose datapath is there.
async fn connected() -> Lab {
    let lab = Lab::with_overlay().await;
    lab.datapath.view.lock().expect("not poisoned").connected = true;
    lab
}

fn client(lab: &Lab) -> LearnedServiceClient<Channel> {
    LearnedServiceClient::new(lab.channel.clone())
}

fn list_fdb(bridge: &str, page_size: u32, page_token: &str) -> pb::ListFdbRequest {
    pb::ListFdbRequest { bridge: bridge.to_owned(), page_size, page_token: page_token.to_owned() }
}

fn list_neighbors(network: &str, page_size: u32, page_token: &str) -> pb::ListNeighborsRequest {
    pb::ListNeighborsRequest { network: network.to_owned(), page_size, page_token: page_token.to_owned() }
}

#[tokio::test]
async fn addresses_are_told_in_the_names_of_resources() {
    let lab = connected().await;
    let red = BridgeId(lab.uid_of("bridges/red").await);
    let device = |name: &str| Place::Port(name.parse().expect("a device"));
    let peer = |address: &str| Place::Peer(address.parse().expect("an address"));
    let entry = |n: u8, bridge, place, idle: Option<u64>| FdbView {
        bridge,
        mac: MacAddr([2, 0, 0, 0, 0, n]),
        place,
        idle: idle.map(Duration::from_millis),
    };
    *lab.datapath.fdb.lock().expect("not poisoned") = vec![
        entry(9, BridgeId(999), device("pf0vf7"), Some(0)),
        entry(2, red, peer("192.0.2.2"), None),
        entry(4, red, peer("192.0.2.9"), Some(1500)),
        entry(1, red, device("pf0vf0"), Some(250)),
        entry(3, red, device("pf0vf7"), Some(1)),
    ];
    let all = client(&lab).list_fdb(list_fdb("", 0, "")).await.expect("listed").into_inner();
    let places: Vec<_> = all.entries.iter().map(|entry| entry.place.clone().expect("a place")).collect();
    let port = |name: &str| pb::learned_fdb::Place::Port(name.to_owned());
    let peer = |name: &str| pb::learned_fdb::Place::TunnelPeer(name.to_owned());
    assert_eq!(
        places,
        [port("ports/vm1"), peer("tunnelPeers/far"), port("pf0vf7"), peer("192.0.2.9"), port("pf0vf7")]
    );
    let first = &all.entries[0];
    assert_eq!((first.bridge.as_str(), first.mac_address.as_str()), ("bridges/red", "02:00:00:00:00:01"));
    assert_eq!(first.idle, Some(pbjson_types::Duration { seconds: 0, nanos: 250_000_000 }));
    assert_eq!((all.entries[1].fdb_entry.as_str(), all.entries[1].idle), ("fdbEntries/far-vm", None));
    assert_eq!((all.entries[4].bridge.as_str(), all.next_page_token.as_str()), ("", ""));
    let red = client(&lab).list_fdb(list_fdb("bridges/red", 0, "")).await.expect("listed").into_inner();
    assert_eq!(red.entries, all.entries[..4]);
    let flush = |bridge: &str| pb::FlushFdbRequest { bridge: bridge.to_owned() };
    let flushed = client(&lab).flush_fdb(flush("bridges/red")).await.expect("flushed").into_inner().flushed;
    assert_eq!(flushed, 3);
    assert_eq!(client(&lab).flush_fdb(flush("")).await.expect("flushed").into_inner().flushed, 1);
    let left = client(&lab).list_fdb(list_fdb("", 0, "")).await.expect("listed").into_inner().entries;
    assert_eq!(left, all.entries[1..2]);
}

#[tokio::test]
async fn pages_together_have_every_address_once_also_when_some_come_and_go() {
    let lab = connected().await;
    let red = BridgeId(lab.uid_of("bridges/red").await);
    let entry = |n: u16| FdbView {
        bridge: if n < 2000 { red } else { BridgeId(red.0 + 1) },
        mac: MacAddr([2, 0, 0, 0, (n >> 8) as u8, n as u8]),
        place: Place::Port("pf0vf0".parse().expect("a device")),
        idle: Some(Duration::ZERO),
    };
    // The datapath tells them in no order.
    *lab.datapath.fdb.lock().expect("not poisoned") = (0..2500).map(|n| entry(n * 7 % 2500)).collect();
    let (mut token, mut found, mut sizes) = (String::new(), Vec::new(), Vec::new());
    loop {
        let page = client(&lab).list_fdb(list_fdb("", 5000, &token)).await.expect("a page").into_inner();
        sizes.push(page.entries.len());
        found.extend(page.entries.into_iter().map(|entry| (entry.bridge, entry.mac_address)));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        // What the next page begins behind ages out.
        lab.datapath
            .fdb
            .lock()
            .expect("not poisoned")
            .retain(|entry| entry.mac != MacAddr([2, 0, 0, 0, 3, 231]));
    }
    assert_eq!(sizes, [1000, 1000, 500]);
    let expected: Vec<_> = (0..2500)
        .map(|n| {
            let bridge = if n < 2000 { "bridges/red" } else { "" };
            (bridge.to_owned(), entry(n).mac.to_string())
        })
        .collect();
    assert_eq!(found, expected);
    let token =
        client(&lab).list_fdb(list_fdb("", 1, "")).await.expect("a page").into_inner().next_page_token;
    let other = failure(client(&lab).list_fdb(list_fdb("bridges/red", 1, &token)).await);
    assert_eq!(other.2, [("pageToken".to_owned(), "PAGE_TOKEN_INVALID".to_owned())]);
    let other = failure(client(&lab).list_neighbors(list_neighbors("", 1, &token)).await);
    assert_eq!(other.1, "PAGE_TOKEN_INVALID");
}

#[tokio::test]
async fn neighbors_are_told_by_network_and_paged() {
    let lab = connected().await;
    let (vtep, red) = (VtepId(lab.uid_of("vteps/v0").await), BridgeId(lab.uid_of("bridges/red").await));
    let neighbor = |network, address: &str, mac: Option<u8>, state| NeighborView {
        network,
        address: address.parse().expect("an address"),
        mac: mac.map(|n| MacAddr([2, 0, 0, 0, 0, n])),
        state,
        age: Duration::from_secs(3),
    };
    *lab.datapath.neighbors.lock().expect("not poisoned") = vec![
        neighbor(Network::Bridge(red), "2001:db8::1", Some(2), NeighborState::Reachable),
        neighbor(Network::Bridge(red), "10.0.0.9", Some(1), NeighborState::Probe),
        neighbor(Network::Underlay(VtepId(999)), "192.0.2.7", None, NeighborState::Incomplete),
        neighbor(Network::Underlay(vtep), "192.0.2.2", None, NeighborState::Failed),
    ];
    use pb::learned_neighbor::{Network as Shown, State};
    let (mut token, mut found) = (String::new(), Vec::new());
    loop {
        let page =
            client(&lab).list_neighbors(list_neighbors("", 1, &token)).await.expect("a page").into_inner();
        assert_eq!(page.neighbors.len(), 1);
        found.extend(page.neighbors);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let shown: Vec<_> = found
        .iter()
        .map(|it| {
            (it.network.clone().expect("a network"), it.address.as_str(), it.mac_address.as_str(), it.state())
        })
        .collect();
    assert_eq!(
        shown,
        [
            (Shown::Vtep("vteps/v0".to_owned()), "192.0.2.2", "", State::Failed),
            (Shown::Vtep(String::new()), "192.0.2.7", "", State::Incomplete),
            (Shown::Bridge("bridges/red".to_owned()), "10.0.0.9", "02:00:00:00:00:01", State::Probe),
            (Shown::Bridge("bridges/red".to_owned()), "2001:db8::1", "02:00:00:00:00:02", State::Reachable),
        ]
    );
    assert_eq!(found[0].age, Some(pbjson_types::Duration { seconds: 3, nanos: 0 }));
    for (network, count) in [("vteps/v0", 1), ("bridges/red", 2)] {
        let request = list_neighbors(network, 0, "");
        let page = client(&lab).list_neighbors(request).await.expect("a page").into_inner();
        assert_eq!(page.neighbors.len(), count, "{network}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_the_field() {
    let lab = Lab::with_overlay().await;
    let found = failure(client(&lab).list_fdb(list_fdb("", 0, "")).await);
    assert_eq!(found, (Code::Unavailable, "DATAPATH_UNAVAILABLE".to_owned(), vec![]));
    assert_eq!(failure(client(&lab).list_fdb(list_fdb("bridges/blue", 0, "")).await).0, Code::NotFound);
    assert_eq!(
        failure(client(&lab).list_neighbors(list_neighbors("vteps/v9", 0, "")).await).0,
        Code::NotFound
    );
    let invalid = |field: &str| vec![(field.to_owned(), "NAME_INVALID".to_owned())];
    assert_eq!(failure(client(&lab).list_fdb(list_fdb("vteps/v0", 0, "")).await).2, invalid("bridge"));
    assert_eq!(
        failure(client(&lab).list_neighbors(list_neighbors("ports/pf0", 0, "")).await).2,
        invalid("network")
    );
    let flush = pb::FlushFdbRequest { bridge: "red".to_owned() };
    assert_eq!(failure(client(&lab).flush_fdb(flush).await).2, invalid("bridge"));
}
