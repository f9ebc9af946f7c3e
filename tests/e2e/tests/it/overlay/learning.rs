//! What the card learns, answers for others, and keeps when processes die.

use std::time::Duration;

use e2e::overlay::{Endpoint, Underlay, resources};
use e2e::{Node, Options, number};

use super::{VMS, acquainted, await_rule};
use crate::bench::{Bench, Outcome, peer, vm1, vm2};

#[test]
fn a_request_for_an_address_that_is_known_is_answered_by_the_card() -> Outcome {
    let mut lab = Bench::start(Options { neighbours: false, ..Options::default() })?;
    lab.make_overlay(Endpoint::Kernel, Underlay::Ipv4)?;
    let suppressing = resources(Underlay::Ipv4, &VMS).replace("vni: 16}", "vni: 16, suppression: true}");
    let known = format!(
        "---\napiVersion: nic.v1\nkind: FdbEntry\nname: fdbEntries/peer\n\
         spec: {{bridge: bridges/blue, macAddress: '{}', tunnelPeer: tunnelPeers/wire, addresses: ['{}']}}\n",
        peer().mac_text(),
        peer().ipv4()
    );
    lab.apply(&(suppressing + &known))?;
    let requests = |lab: &Bench| -> Result<u64, e2e::LabError> { lab.packets_at(Node::Far, "vxlan16") };
    let before = requests(&lab)?;
    let ping = lab.ping(vm1(), peer().ipv4().into(), 3, 1.0)?;
    assert_eq!(number(&ping["answered"]), 3, "{ping}");
    // The far endpoint gets what is flooded. The peer's own request for VM 1 is suppressed, or flooded to
    // the card alone.
    assert_eq!(requests(&lab)?, before, "the request was not flooded");
    let stats = lab.stats()?;
    assert!(number(&stats.0["neighbors"]["answered"]) >= 1, "{:#}", stats.0);
    Ok(())
}

#[test]
fn without_the_agent_stations_are_learned_and_tunnels_carry() -> Outcome {
    let mut lab = acquainted(Endpoint::Kernel, Underlay::Ipv4)?;
    lab.udp(vm1(), peer(), 5001, 1, 5_000)?;
    await_rule(&mut lab, "vm1", peer())?;
    let rules = lab.settled_stats()?.rules();
    lab.agent().kill();
    // VM 2 has not said a word before.
    assert_eq!(lab.udp(vm2(), peer(), 5002, 1_000, 5_000)?.lost, 0);
    assert_eq!(lab.udp(peer(), vm2(), 5002, 1_000, 5_000)?.lost, 0);
    assert_eq!(lab.udp(vm1(), peer(), 5001, 1_000, 5_000)?.lost, 0);
    lab.start_agent()?;
    lab.await_connected()?;
    let after = lab.settled_stats()?;
    assert_eq!(after.rules().1, rules.1, "no rule was destroyed");
    assert_eq!(super::overlay_drops(&after), 0, "{:#}", after.0);
    let fdb = lab.json(&["fdb"])?.to_string();
    assert!(fdb.contains(&vm2().mac_text()), "{fdb}");
    Ok(())
}

#[test]
fn what_is_flushed_is_learned_again() -> Outcome {
    let mut lab = acquainted(Endpoint::Kernel, Underlay::Ipv4)?;
    let told = lab.show(&["fdb", "flush"])?;
    assert!(told.contains("2"), "{told}");
    let fdb = lab.json(&["fdb"])?.to_string();
    assert!(!fdb.contains(&vm1().mac_text()), "{fdb}");
    super::meet(&mut lab, vm1(), peer())?;
    lab.until("the entries", Duration::from_secs(5), |lab| {
        let fdb = lab.json(&["fdb"])?.to_string();
        let all = [vm1(), peer()].iter().all(|station| fdb.contains(&station.mac_text()));
        Ok(if all { Ok(()) } else { Err(fdb) })
    })
}
