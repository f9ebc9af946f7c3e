//! The rules between bridges, tunnels and ports, one by one.

use super::*;

const VTEP: VtepFields<'static> = VtepFields {
    port: "ports/pf0",
    vlan: 0,
    address: "192.0.2.1/24",
    gateway: "",
    mac_address: "",
    ttl: 0,
    dscp: 0,
};

const STATION: FdbEntryFields<'static> = FdbEntryFields {
    bridge: "bridges/red",
    mac_address: "02:00:00:00:00:01",
    port: "ports/vm1",
    tunnel_peer: "",
    addresses: &[],
};

const REMOTE: FdbEntryFields<'static> =
    FdbEntryFields { mac_address: "02:00:00:00:00:02", port: "", tunnel_peer: "tunnelPeers/far", ..STATION };

fn uplink(mtu: u32) -> Desired {
    port_with("pf0", &PortFields { device: "p0", mtu, ..PortFields::default() })
}

fn tenant(id_text: &str, device: &str, bridge: &str) -> Desired {
    port_with(id_text, &PortFields { device, bridge, ..PortFields::default() })
}

/// A VM in a bridge that goes to one peer, and a bridge of this card alone.
fn parts() -> Vec<Desired> {
    vec![
        entry("local", &STATION),
        entry("remote", &REMOTE),
        peer("far", "vteps/v", "192.0.2.2", &["red"]),
        tenant("vm1", "pf0vf0", "bridges/red"),
        tenant("vm2", "pf0vf1", ""),
        bridge("red", "vteps/v", 16),
        bridge("blue", "", 0),
        vtep("v", &VTEP),
        uplink(1550),
    ]
}

fn overlay() -> State {
    after(&State::default(), Operation::Apply(apply("lab", parts())))
}

/// The faults of an Apply of these, each as a line.
fn refused(state: &State, resources: Vec<Desired>) -> Vec<String> {
    let rejection =
        step(state, Operation::Apply(apply("lab", resources))).expect_err("the transaction is invalid");
    rejection.violations.iter().map(ToString::to_string).collect()
}

#[test]
fn an_overlay_is_applied_in_any_order_of_its_parts() {
    let mut reversed = parts();
    reversed.reverse();
    let state = after(&State::default(), Operation::Apply(apply("lab", reversed)));
    assert_eq!(state.count(Kind::FdbEntry), 2);
    let mut incomplete = parts();
    incomplete
        .retain(|desired| !matches!(desired.name().to_string().as_str(), "bridges/red" | "tunnelPeers/far"));
    let expected = [
        "resources[0].spec.bridge: there is no bridges/red",
        "resources[1].spec.bridge: there is no bridges/red",
        "resources[1].spec.tunnelPeer: there is no tunnelPeers/far",
        "resources[2].spec.bridge: there is no bridges/red",
    ];
    assert_eq!(refused(&State::default(), incomplete), expected);
}

#[test]
fn what_a_packet_s_way_goes_over_is_found_from_its_ids() {
    let state = overlay();
    let red = state.bridge(&id("red")).expect("exists");
    let vtep = state.vtep(&id("v")).expect("exists");
    assert_eq!(state.bridge_of_policy(red.policy_id()), Some(red));
    assert_eq!(state.vtep_of_policy(vtep.policy_id()), Some(vtep));
    assert_eq!(state.bridge_of_policy(nic_policy::BridgeId(vtep.meta.uid)), None);
    let far = state.tunnel_peer_of_address(&id("v"), "192.0.2.2".parse().expect("an address"));
    assert_eq!(far.map(|peer| peer.id.as_str()), Some("far"));
    let mac = "02:00:00:00:00:02".parse().expect("a MAC address");
    assert_eq!(state.fdb_entry_of_station(&id("red"), mac).map(|entry| entry.id.as_str()), Some("remote"));
    assert_eq!(state.fdb_entry_of_station(&id("blue"), mac), None);
}

#[test]
fn what_is_in_use_cannot_go_and_its_user_is_named() {
    let state = overlay();
    for (kind, text, by) in [
        (Kind::Bridge, "red", "fdbEntries/local"),
        (Kind::TunnelPeer, "far", "fdbEntries/remote"),
        (Kind::Port, "vm1", "fdbEntries/local"),
        (Kind::Port, "pf0", "vteps/v"),
        (Kind::Vtep, "v", "bridges/red"),
    ] {
        let name = kind.name(id(text));
        let delete = Operation::Delete { name: name.clone(), etag: None };
        let found = faults(&state, delete);
        assert!(
            matches!(&found[..], [(_, Reason::Referenced { name: gone, by: found })] if *gone == name && found.to_string() == by),
            "{found:?}"
        );
    }
    let pruned = Operation::Apply(Apply { prune: true, ..apply("lab", vec![bridge("blue", "", 0)]) });
    assert_eq!(after(&state, pruned).resources().count(), 1);
}

#[test]
fn a_vni_is_of_one_bridge_of_a_vtep() {
    let state = overlay();
    assert_eq!(
        refused(&state, vec![bridge("blue", "vteps/v", 16)]),
        ["resources[0].spec.vni: bridges/red has this VNI at the VTEP"]
    );
    let swap = vec![bridge("blue", "vteps/v", 16), bridge("red", "vteps/v", 17)];
    after(&state, Operation::Apply(apply("lab", swap)));
    let other = VtepFields { address: "192.0.2.9/24", ..VTEP };
    let elsewhere = vec![vtep("w", &other), bridge("blue", "vteps/w", 16)];
    after(&state, Operation::Apply(apply("lab", elsewhere)));
}

#[test]
fn two_vteps_of_an_uplink_differ_in_mac_and_in_vlan_or_address() {
    let state = overlay();
    let same = VtepFields { mac_address: "02:00:00:00:00:09", ..VTEP };
    let on_port = "resources[0].spec.macAddress: vteps/v has this MAC address on the port";
    assert_eq!(
        refused(&state, vec![vtep("w", &same)]),
        ["resources[0].spec.address: vteps/v has this address on the port's VLAN"]
    );
    assert_eq!(refused(&state, vec![vtep("w", &VtepFields { vlan: 5, ..VTEP })]), [on_port]);
    after(&state, Operation::Create(vtep("w", &VtepFields { vlan: 5, ..same })));
}

#[test]
fn a_vtep_is_on_an_uplink_also_when_its_port_gets_another_device() {
    let state = overlay();
    let fields = VtepFields { port: "ports/vm2", address: "192.0.2.9/24", ..VTEP };
    assert_eq!(
        refused(&state, vec![vtep("w", &fields)]),
        ["resources[0].spec.port: ports/vm2 has a device that is no uplink"]
    );
    let moved = port_with("pf0", &PortFields { device: "pf0vf9", mtu: 1550, ..PortFields::default() });
    assert_eq!(refused(&state, vec![moved]), ["vteps/v.spec.port: ports/pf0 has a device that is no uplink"]);
    let moved = port_with("pf0", &PortFields { device: "p1", mtu: 1550, ..PortFields::default() });
    after(&state, Operation::Update(moved));
}

#[test]
fn a_tunnel_peer_is_another_host_of_the_vtep_s_family() {
    let state = overlay();
    let refused_at = |address| refused(&state, vec![peer("near", "vteps/v", address, &[])]);
    let fault = |text: &str| vec![format!("resources[0].spec.address: {text}")];
    assert_eq!(refused_at("2001:db8::2"), fault("vteps/v has an address of the other IP version"));
    assert_eq!(refused_at("192.0.2.1"), fault("vteps/v has this address itself"));
    let network = "vteps/v is in the network whose own or broadcast address this is";
    assert_eq!(refused_at("192.0.2.255"), fault(network));
    assert_eq!(refused_at("192.0.2.2"), fault("tunnelPeers/far has this address at the VTEP"));
    after(&state, Operation::Create(peer("near", "vteps/v", "198.51.100.255", &[])));
    // The VTEP changes around the peer.
    let taken = vtep("v", &VtepFields { address: "192.0.2.2/24", ..VTEP });
    assert_eq!(
        refused(&state, vec![taken]),
        ["tunnelPeers/far.spec.address: vteps/v has this address itself"]
    );
}

#[test]
fn the_bridges_of_a_tunnel_peer_are_those_of_its_vtep() {
    let state = overlay();
    let not_carried = "is not carried by the VTEP of this tunnel peer";
    assert_eq!(
        refused(&state, vec![peer("far", "vteps/v", "192.0.2.2", &["red", "blue"])]),
        [format!("resources[0].spec.bridges[1]: bridges/blue {not_carried}")]
    );
    assert_eq!(
        refused(&state, vec![bridge("red", "", 0)]),
        [format!("tunnelPeers/far.spec.bridges[0]: bridges/red {not_carried}")]
    );
}

#[test]
fn a_station_is_at_a_member_of_its_bridge_whatever_changes() {
    let state = overlay();
    let elsewhere = entry("local", &FdbEntryFields { port: "ports/vm2", ..STATION });
    let not_in = "is not in the bridge of this entry";
    assert_eq!(
        refused(&state, vec![elsewhere.clone()]),
        [format!("resources[0].spec.port: ports/vm2 {not_in}")]
    );
    let leaves = tenant("vm1", "pf0vf0", "bridges/blue");
    assert_eq!(
        refused(&state, vec![leaves.clone()]),
        [format!("fdbEntries/local.spec.port: ports/vm1 {not_in}")]
    );
    let left = peer("far", "vteps/v", "192.0.2.2", &[]);
    assert_eq!(
        refused(&state, vec![left]),
        [format!("fdbEntries/remote.spec.tunnelPeer: tunnelPeers/far {not_in}")]
    );
    // By a trunk it is in the bridge as well.
    let trunks = [TrunkFields { vlan: 7, bridge: "bridges/red" }];
    let trunk = PortFields { device: "pf0vf1", trunks: &trunks, ..PortFields::default() };
    let moves = vec![elsewhere, leaves, port_with("vm2", &trunk)];
    after(&state, Operation::Apply(apply("lab", moves)));
    assert_eq!(
        refused(&state, vec![entry("again", &FdbEntryFields { port: "ports/vm1", ..STATION })]),
        ["resources[0].spec.macAddress: fdbEntries/local has this MAC address in the bridge"]
    );
}

#[test]
fn packets_of_a_port_fit_into_the_tunnel_s_whichever_end_changes() {
    let state = overlay();
    let fault = |subject: &str, mtu: u16, carries: u16, overhead: u16| {
        let text = "octets are more than the mtu of ports/pf0, which is";
        vec![format!("{subject}.spec.mtu: {mtu} and the tunnel's {overhead} {text} {carries}")]
    };
    let sized = |mtu| {
        port_with(
            "vm1",
            &PortFields { device: "pf0vf0", mtu, bridge: "bridges/red", ..PortFields::default() },
        )
    };
    assert_eq!(refused(&state, vec![sized(1501)]), fault("resources[0]", 1501, 1550, 50));
    assert_eq!(refused(&state, vec![uplink(1549)]), fault("ports/vm1", 1500, 1549, 50));
    after(&state, Operation::Apply(apply("lab", vec![sized(8000), uplink(8050)])));
    // A port comes into the bridge, and a bridge into the overlay.
    let second = port_with(
        "vm2",
        &PortFields { device: "pf0vf1", mtu: 1600, bridge: "bridges/blue", ..PortFields::default() },
    );
    let state = after(&state, Operation::Update(second));
    assert_eq!(refused(&state, vec![bridge("blue", "vteps/v", 17)]), fault("ports/vm2", 1600, 1550, 50));
    // The VTEP takes another family, or another port.
    let six = vec![
        vtep("v", &VtepFields { address: "2001:db8::1/64", ..VTEP }),
        peer("far", "vteps/v", "2001:db8::2", &["red"]),
    ];
    assert_eq!(refused(&state, six), fault("ports/vm1", 1500, 1550, 70));
    let state = after(&state, Operation::Create(port("pf1", "p1")));
    let moved = refused(&state, vec![vtep("v", &VtepFields { port: "ports/pf1", ..VTEP })]);
    assert!(moved.len() == 1 && moved[0].starts_with("ports/vm1.spec.mtu: 1500 "), "{moved:?}");
}

#[test]
fn a_port_with_many_bridges_of_a_vtep_has_one_fault_if_its_packets_do_not_fit() {
    let state = overlay();
    let trunks = [1, 2, 3]
        .map(|vlan| TrunkFields { vlan, bridge: ["", "bridges/a", "bridges/b", "bridges/c"][vlan as usize] });
    let wide = PortFields { device: "pf0vf1", mtu: 1501, trunks: &trunks, ..PortFields::default() };
    let bridges = [("a", 1), ("b", 2), ("c", 3)].map(|(id, vni)| bridge(id, "vteps/v", vni));
    let resources = bridges.into_iter().chain([port_with("vm2", &wide)]).collect();
    assert_eq!(refused(&state, resources).len(), 1);
}

#[test]
fn a_state_whose_resources_do_not_fit_together_is_found_out_as_a_whole() {
    let state = overlay();
    assert_eq!(crate::check_whole(&state), Ok(()));
    for missing in ["bridges/red", "vteps/v", "tunnelPeers/far", "ports/pf0"] {
        let rest = state.resources().filter(|resource| resource.name().to_string() != missing).cloned();
        let torn = State::restore(state.revision(), state.last_uid(), rest);
        assert!(crate::check_whole(&torn).is_err(), "{missing}");
    }
}
