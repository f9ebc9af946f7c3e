//! What a card says that has had enough, or that is asked for what it does not have.

use nic_flow::seam::{Refusal, RuleSink};
use nic_flow::{Rule, text};

use super::rig::{Exit, Rig, port};

fn rule(flow: &str, actions: &str) -> Rule {
    Rule { matches: flow.parse().expect(flow), actions: text::parse_actions(actions).expect(actions) }
}

fn towards(last: u8, actions: &str) -> Rule {
    rule(&format!("in_port=p0,eth_dst=02:00:00:00:00:{last:02x}"), actions)
}

#[test]
fn a_card_says_what_it_has_twice_what_is_too_much_and_what_is_not_there() {
    let mut rig = Rig::new("net_eswitch4");
    let first = towards(1, "output(pf0vf0)");
    let mut held = vec![rig.sink.create(&first).unwrap()];
    // The match is what counts; the actions may differ.
    assert_eq!(rig.sink.create(&first).unwrap_err(), Refusal::Exists);
    assert_eq!(rig.sink.create(&towards(1, "drop")).unwrap_err(), Refusal::Exists);

    // The VF is part of the switch, but nobody asked for its representor.
    let silent = port("pf0vf1");
    assert_eq!(rig.ports, [port("p0"), port("pf0vf0")]);
    let refused = rig.sink.create(&towards(2, "output(pf0vf1)")).unwrap_err();
    assert_eq!(refused, Refusal::NoPort(silent));
    assert_eq!(rig.sink.create(&rule("in_port=pf0vf1", "drop")).unwrap_err(), Refusal::NoPort(silent));

    held.extend((2..=4).map(|last| rig.sink.create(&towards(last, "output(pf0vf0)")).unwrap()));
    let refused = rig.sink.create(&towards(5, "output(pf0vf0)")).unwrap_err();
    assert!(refused == Refusal::Full && refused.is_transient());

    // The refused ones left nothing behind.
    let frame = |last: u8| [&[2, 0, 0, 0, 0, last][..], &[2, 0, 0, 0, 0, 9, 0x88, 0xcc], &[0; 46]].concat();
    rig.send(port("p0"), &frame(5));
    assert_eq!(rig.one(Exit::Representor(port("p0"))), frame(5));
    rig.send(port("p0"), &frame(1));
    assert_eq!(rig.one(Exit::Wire(port("pf0vf0"))), frame(1));

    // Room for one more, and the match that was taken is free.
    let counted = rig.sink.destroy(held.remove(0)).unwrap();
    assert_eq!((counted.packets, counted.bytes), (1, 60));
    held.push(rig.sink.create(&towards(1, "drop")).unwrap());
    assert_eq!(rig.sink.create(&towards(6, "drop")).unwrap_err(), Refusal::Full);
    for handle in held {
        rig.sink.destroy(handle).unwrap();
    }
    assert!(rig.rest().is_empty());
}
