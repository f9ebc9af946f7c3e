//! A change costs what it touches.

use std::time::{Duration, Instant};

use super::*;

const BRIDGES: usize = 256;
const STATIONS: usize = 10_000;

/// A trunk port with every bridge, a peer in every bridge, and stations behind it.
fn large(stations: usize) -> Vec<Desired> {
    let names: Vec<String> = (0..BRIDGES).map(|n| format!("b{n}")).collect();
    let references: Vec<String> = names.iter().map(|name| format!("bridges/{name}")).collect();
    let trunks: Vec<TrunkFields<'_>> =
        references.iter().zip(1..).map(|(bridge, vlan)| TrunkFields { vlan, bridge }).collect();
    let members: Vec<&str> = names.iter().map(String::as_str).collect();
    let underlay = VtepFields { port: "ports/pf0", address: "192.0.2.1/24", ..VtepFields::default() };
    let mut resources = vec![
        port_with("pf0", &PortFields { device: "p0", mtu: 1600, ..PortFields::default() }),
        port_with("vm1", &PortFields { device: "pf0vf0", trunks: &trunks, ..PortFields::default() }),
        vtep("v", &underlay),
        peer("far", "vteps/v", "192.0.2.2", &members),
    ];
    resources.extend(names.iter().zip(1..).map(|(name, vni)| bridge(name, "vteps/v", vni)));
    for n in 0..stations {
        let mac_address = format!("02:00:00:00:{:02x}:{:02x}", n >> 8, n & 0xff);
        let fields = FdbEntryFields {
            bridge: &references[n % BRIDGES],
            mac_address: &mac_address,
            tunnel_peer: "tunnelPeers/far",
            ..FdbEntryFields::default()
        };
        resources.push(entry(&format!("e{n}"), &fields));
    }
    resources
}

/// The shortest of some runs, so that a busy machine does not count.
fn shortest(mut run: impl FnMut()) -> Duration {
    let times = (0..3).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    times.min().unwrap_or_default()
}

#[test]
fn ten_thousand_stations_in_256_bridges_cost_as_much_each_as_a_thousand() {
    let few = Operation::Apply(apply("lab", large(STATIONS / 10)));
    let many = Operation::Apply(apply("lab", large(STATIONS)));
    let few = shortest(|| assert!(step(&State::default(), few.clone()).is_ok()));
    let time = shortest(|| assert!(step(&State::default(), many.clone()).is_ok()));
    // Ten times as many; a quadratic check would take a hundred times as long.
    assert!(time < few * 30, "{time:?} for ten times what took {few:?}");
    if !cfg!(debug_assertions) {
        assert!(time < Duration::from_millis(500), "{time:?}");
    }
}

#[test]
fn a_small_change_of_a_large_state_costs_little() {
    let state = after(&State::default(), Operation::Apply(apply("lab", large(STATIONS))));
    let small = after(&State::default(), Operation::Apply(apply("lab", large(STATIONS / 100))));
    let cost = |state: &State| {
        shortest(|| {
            for vni in 1000..1050 {
                assert!(step(state, Operation::Update(bridge("b7", "vteps/v", vni))).is_ok());
            }
        })
    };
    let (small, large) = (cost(&small), cost(&state));
    assert!(large < small * 10, "{large:?} where a hundredth of the stations takes {small:?}");
}
