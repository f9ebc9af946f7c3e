//! Many networks and many stations at once.

use std::fmt::Write;
use std::time::Instant;

use e2e::overlay::{Endpoint, Underlay, resources};
use e2e::{LabError, Node};

use super::meet;
use crate::bench::{Bench, Outcome, peer, vm1};

const NETWORKS: usize = 256;
const STATIONS: usize = 10_000;

#[test]
fn ten_thousand_stations_in_256_networks_come_by_one_apply_and_forward() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.make_overlay(Endpoint::Kernel, Underlay::Ipv4)?;
    let yaml = everything();
    let at_wire = lab.packets_at(Node::Wire, "vxlan16")?;
    // What nicctl needs to read the file and to ask for the plan, it needs without the change, too.
    let file = lab.folder().join("plan.yaml");
    std::fs::write(&file, &yaml).map_err(LabError::io("writing the configuration"))?;
    let start = Instant::now();
    lab.show(&["apply", "-f", &file.to_string_lossy(), "--dry-run"])?;
    let planned = start.elapsed();
    let start = Instant::now();
    let told = lab.apply(&yaml)?;
    let applied = start.elapsed();
    // To a station that nobody has heard of but the configuration.
    meet(&mut lab, vm1(), peer())?;
    let forwarding = start.elapsed();
    println!(
        "nicctl apply --wait: {applied:?}, of these {planned:?} to read the file and to plan; then the first \
         answer through a tunnel after {:?}",
        forwarding - applied
    );
    assert!(lab.packets_at(Node::Wire, "vxlan16")? > at_wire, "{told}");
    let fdb = count(&lab, &["fdb"], "entries")?;
    assert!(fdb >= STATIONS, "{fdb}");
    let status = lab.json(&["status"])?;
    assert_eq!(status["revision"], "1", "one revision: {status:#}");
    Ok(())
}

fn everything() -> String {
    let networks: Vec<String> = (0..NETWORKS).map(|n| format!("bridges/n{n}")).collect();
    let mut yaml = resources(Underlay::Ipv4, &[("vm1", "pf0vf0")])
        .replace("bridges: [bridges/blue]", &format!("bridges: [bridges/blue, {}]", networks.join(", ")));
    // `blue` is one of the networks.
    for (n, name) in networks.iter().enumerate().skip(1) {
        write!(
            yaml,
            "---\napiVersion: nic.v1\nkind: Bridge\nname: {name}\nspec: {{vtep: vteps/card, vni: {}}}\n",
            1000 + n
        )
        .expect("a text takes all");
    }
    yaml = yaml.replace("bridges/n0, ", "");
    for n in 0..STATIONS {
        let network =
            if n % NETWORKS == 0 { "bridges/blue".to_owned() } else { networks[n % NETWORKS].clone() };
        let mac =
            if n == 0 { peer().mac_text() } else { format!("06:00:00:00:{:02x}:{:02x}", n >> 8, n & 0xff) };
        write!(
            yaml,
            "---\napiVersion: nic.v1\nkind: FdbEntry\nname: fdbEntries/s{n}\n\
             spec: {{bridge: {network}, macAddress: '{mac}', tunnelPeer: tunnelPeers/wire}}\n"
        )
        .expect("a text takes all");
    }
    yaml
}

fn count(lab: &Bench, args: &[&str], list: &str) -> Result<usize, LabError> {
    Ok(lab.json(args)?[list].as_array().map_or(0, Vec::len))
}
