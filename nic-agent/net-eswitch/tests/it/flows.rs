use dpdk::flow::{Action, Attr, Eth, Item, Masked};

use crate::Rig;

/// `eth dst is 02:00:00:00:00:<last> / end`
fn to_mac(last: u8) -> [Item; 1] {
    let dst = [2, 0, 0, 0, 0, last];
    [Item::Eth(Masked::new(Eth { dst, ..Default::default() }, Eth { dst: [0xff; 6], ..Default::default() }))]
}

#[test]
fn a_full_switch_refuses_until_a_rule_is_gone_and_twins_are_refused() {
    let rig = Rig::new("net_eswitch3");
    let drop_all = [Action::Count, Action::Drop];
    let mut rules: Vec<_> = (0..4).map(|n| rig.rule("p0", &to_mac(n), &drop_all).unwrap()).collect();
    let full = rig.rule("p0", &to_mac(9), &drop_all).unwrap_err();
    assert_eq!(full.errno.get(), libc::ENOSPC, "{full}");
    rules.pop();
    let twin = rig.rule("p0", &to_mac(0), &[Action::Drop]).unwrap_err();
    assert_eq!(twin.errno.get(), libc::EEXIST, "{twin}");
    let pattern = [Item::RepresentedPort(rig.dev("p0")), to_mac(0)[0]];
    let twin = rig.port("p0").validate_flow(&Attr::TRANSFER, &pattern, &drop_all).unwrap_err();
    assert_eq!(twin.errno.get(), libc::EEXIST, "{twin}");
    rules.push(rig.rule("p0", &to_mac(9), &drop_all).unwrap());

    // What one port created, it alone queries; a flush takes that port's rules.
    let own = rules.remove(0);
    rig.port("pf0vf0").flush_flows().unwrap();
    assert_eq!(own.query_count().unwrap().packets, Some(0));
    rig.port("p0").flush_flows().unwrap();
    assert!(own.is_stale());
    drop((own, rules));
    let all: Vec<_> = (0..4).map(|n| rig.rule("pf0vf0", &to_mac(n), &drop_all).unwrap()).collect();
    assert_eq!(all.len(), 4);
    assert_eq!(rig.port("p0").transfer_proxy().unwrap(), rig.dev("p0"));
    drop(all);

    crate::refusals::of_the_full_profile(&rig);
}
