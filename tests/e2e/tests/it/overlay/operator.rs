//! What an operator asks through the host's shim: watching, describing.

use e2e::overlay::{Endpoint, Underlay, port, resources};
use serde_json::Value;

use super::VMS;
use crate::bench::{Bench, Outcome};

#[test]
fn a_watch_goes_on_where_it_ended_and_says_so_when_it_cannot() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.make_overlay(Endpoint::Kernel, Underlay::Ipv4)?;
    let yaml = resources(Underlay::Ipv4, &VMS);
    lab.apply(&yaml)?;
    let events = |text: &str| -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).expect("a document a line")).collect()
    };
    let listed = events(&lab.show(&["watch", "--once", "-o", "json"])?);
    assert_eq!(listed.len(), 8, "seven resources and a bookmark: {listed:#?}");
    let token = listed[7]["resumeToken"].as_str().expect("a bookmark has one").to_owned();

    lab.apply(&(yaml.clone() + &port("vm3", "pf0vf2", 1450, "bridge: bridges/blue")))?;
    lab.apply(&yaml)?;
    let since = lab.show(&["watch", "--resume", &token, "--once"])?;
    assert!(since.contains("put     ports/vm3"), "{since}");
    let gone = lab.show(&["watch", "ports", "--once"])?;
    assert!(!gone.contains("ports/vm3") && !gone.contains("vteps/"), "{gone}");

    // What the agent remembers of the way is gone with it; what there is, is not.
    lab.agent().kill();
    lab.start_agent()?;
    lab.await_connected()?;
    let answer = lab.nicctl(&["watch", "--resume", &token, "--once"])?;
    assert!(answer.code == 3 && answer.err.contains("WATCH_COMPACTED"), "{answer:?}");
    assert_eq!(events(&lab.show(&["watch", "--once", "-o", "json"])?).len(), 8);
    Ok(())
}

#[test]
fn a_resource_is_described_with_its_conditions_and_what_refers_to_it() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.make_overlay(Endpoint::Kernel, Underlay::Ipv4)?;
    lab.apply(&resources(Underlay::Ipv4, &VMS))?;
    let bridge = lab.show(&["describe", "bridge", "blue"])?;
    for words in ["Refers to    vteps/card", "ports/vm1", "ports/vm2", "tunnelPeers/wire", "Programmed"] {
        assert!(bridge.contains(words), "{words}\n{bridge}");
    }
    let vtep = lab.json(&["describe", "vteps/card"])?;
    let holds = |kind: &str| {
        let conditions = vtep["resource"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "TRUE")
    };
    assert!(holds("Accepted") && holds("Programmed") && holds("Present"), "{vtep:#}");
    // Derived from the address, and always the same.
    assert_eq!(vtep["resource"]["status"]["macAddress"], "02:4e:c0:00:02:33", "{vtep:#}");
    let refused = lab.nicctl(&["delete", "bridge", "blue"])?;
    assert!(refused.code == 4 && refused.err.contains("RESOURCE_REFERENCED"), "{refused:?}");
    Ok(())
}
