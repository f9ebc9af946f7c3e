//! What happens in the story.

mod changes;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::{Lab, LabError, Node, Place, Received, Stats, number};
use serde_json::Value;

use e2e::story::{Story, count, percent};

/// The packets that are counted one by one.
const PACKETS: u64 = 100_000;
/// How many a second: what two busy cores forward without loss, with a margin.
const RATE: u64 = 20_000;
/// Octets of each TCP stream.
const STREAM: u64 = 64 << 20;
/// Ports of the receivers.
const UDP: u16 = 5001;
/// What a capture must have that shows tunnels: what comes from the uplink, and goes there.
const TUNNEL: &str = "udp and dst port 4789";
const TCP: u16 = 5002;

/// Who is who in the story.
fn name(place: Place) -> &'static str {
    match place.node {
        Node::Host1 => "vm1",
        Node::Host2 => "vm2",
        Node::Host3 => "vm3",
        Node::Wire => "peer",
        Node::Far => "far",
        Node::Card => "card",
    }
}

/// All of it.
pub(crate) fn tell(lab: &mut Lab, story: &mut Story) -> Result<(), LabError> {
    let (vm1, vm2, peer) = (Node::Host1.place(), Node::Host2.place(), Node::Wire.place());
    closed(lab, story, vm1, vm2)?;
    configured(lab, story)?;
    first_packets(lab, story, &[(vm1, peer), (peer, vm2), (vm2, vm1)])?;
    counted(lab, story, vm1, peer)?;
    streams(lab, story, &[(vm1, peer), (peer, vm1), (vm2, vm1)])?;
    looked_at(lab, story, vm1, peer)?;
    changes::tell(lab, story)
}

fn closed(lab: &Lab, story: &mut Story, vm1: Place, vm2: Place) -> Result<(), LabError> {
    story.chapter("A card that nobody has configured is closed");
    let capabilities = lab.json(&["capabilities"])?;
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let driver = text(&capabilities["driver"]);
    let rows = capabilities["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let able = rows.iter().filter(|row| row["supported"] == true).count();
    story.say(format!(
        "E-Switch {driver}, {}: {able} of {} kinds of flow can run in hardware",
        text(&capabilities["dpdkVersion"]),
        rows.len()
    ));
    story.figure("driver", driver);
    let ping = lab.ping(vm1, vm2.ipv4().into(), 2, 0.3)?;
    let answered = number(&ping["answered"]);
    story.claim(answered == 0, format!("vm1 pings vm2: {answered} of 2 answered"));
    Ok(())
}

/// The configuration that the story begins with.
fn example() -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/overlay.yaml");
    file.canonicalize().unwrap_or(file)
}

fn configured(lab: &Lab, story: &mut Story) -> Result<(), LabError> {
    story.chapter("vm1's host configures it, over gRPC through its shim");
    let file = example();
    story.say("nicctl apply -f docs/examples/overlay.yaml --wait");
    let args = ["apply", "-f", &file.to_string_lossy(), "--yes", "--wait"];
    let answer = lab.nicctl(&args)?;
    story.show(&format!("{}{}", answer.out, answer.err));
    story.claim(answer.code == 0, "accepted, stored, and reported applied by the datapath");
    Ok(())
}

fn first_packets(lab: &Lab, story: &mut Story, ways: &[(Place, Place)]) -> Result<(), LabError> {
    story.chapter("Everybody reaches everybody: ARP, neighbor discovery, ICMP");
    for &(from, to) in ways {
        for address in [IpAddr::V4(to.ipv4()), IpAddr::V6(to.ipv6())] {
            let ping = lab.ping(from, address, 5, 1.0)?;
            let answered = number(&ping["answered"]);
            let micros = |name: &str| ping[name].as_f64().unwrap_or(f64::NAN);
            let (first, fastest) = (micros("first_us"), micros("fastest_us"));
            let names = (name(from), address);
            story.claim(
                answered == 5,
                format!("{:<4} -> {}: {answered} of 5 answered; the first after {first:.0} us, the fastest after {fastest:.0} us", names.0, names.1),
            );
        }
    }
    Ok(())
}

/// What changed between two readings of the counters.
struct Change {
    hardware: u64,
    slow_path: u64,
}

impl Change {
    fn between(before: &Stats, after: &Stats, device: &str) -> Change {
        let of = |counter: &str| after.port(device, counter) - before.port(device, counter);
        Change { hardware: of("hardwarePackets"), slow_path: of("rxPackets") }
    }
}

fn counted(lab: &mut Lab, story: &mut Story, vm1: Place, peer: Place) -> Result<(), LabError> {
    story.chapter(
        "The first packets are the slow path's, all others are the E-Switch's, into the tunnel and out of it",
    );
    for (from, to, port, way) in [(vm1, peer, "vm1", "encapsulated"), (peer, vm1, "uplink", "decapsulated")] {
        lab.udp(from, to, UDP, 1, RATE)?;
        lab.await_hardware(port, &format!("eth_dst={}", to.mac_text()))?;
        let before = lab.settled_stats()?;
        let captured = lab.captured(TUNNEL)?;
        story.say(format!(
            "{} -> {}: its rule is in the E-Switch; now {} packets, {} a second, to be {way}",
            name(from),
            name(to),
            count(PACKETS),
            count(RATE)
        ));
        let idle = lab.shim().idle_cpu_time()?;
        let received = lab.udp(from, to, UDP, PACKETS, RATE)?;
        let spent = lab.shim().cpu_time()? - idle;
        let after = lab.settled_stats()?;
        arrived(story, way, received);
        share(story, way, &Change::between(&before, &after, from.device));
        let more = lab.captured(TUNNEL)? - captured;
        story.figure(&format!("captured_{way}"), more);
        story.claim(
            more * 1000 <= PACKETS,
            format!("a capture on the card's side has {more} VXLAN packets more: the rest never came there"),
        );
        shim(story, spent);
    }
    Ok(())
}

fn arrived(story: &mut Story, way: &str, received: Received) {
    let Received { distinct, lost, duplicates, reordered } = received;
    story.figure(&format!("packets_arrived_{way}"), distinct);
    story.figure(&format!("packets_duplicated_{way}"), duplicates);
    story.figure(&format!("packets_reordered_{way}"), reordered);
    story.claim(
        distinct == PACKETS && lost + duplicates == 0,
        format!(
            "{} of {} arrived, {lost} lost, {duplicates} twice, {reordered} out of order",
            count(distinct),
            count(PACKETS)
        ),
    );
}

fn share(story: &mut Story, way: &str, all: &Change) {
    let share = all.hardware as f64 / (all.hardware + all.slow_path).max(1) as f64;
    story.figure(&format!("eswitch_share_{way}"), share);
    story.claim(
        all.hardware * 1000 >= PACKETS * 999 && all.slow_path * 1000 <= PACKETS,
        format!(
            "Sent hardware {} pkt, sent software {} pkt, ARP included: {}",
            count(all.hardware),
            count(all.slow_path),
            percent(all.hardware, all.hardware + all.slow_path)
        ),
    );
}

fn shim(story: &mut Story, spent: Duration) {
    story.figure("shim_cpu_ns", u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX));
    story.claim(
        spent.is_zero(),
        format!("CPU time that the host's shim spent meanwhile: {} ms", spent.as_micros() as f64 / 1000.0),
    );
}

fn streams(lab: &Lab, story: &mut Story, ways: &[(Place, Place)]) -> Result<(), LabError> {
    story.chapter("TCP, every byte compared");
    for (index, &(from, to)) in ways.iter().enumerate() {
        let address = if index % 2 == 0 { IpAddr::V4(to.ipv4()) } else { IpAddr::V6(to.ipv6()) };
        let result = lab.tcp(from, SocketAddr::new(address, TCP), to, STREAM)?;
        let (received, wrong) = (number(&result["received"]), number(&result["wrong"]));
        let rate = received as f64 * 8.0 / 1e9 / result["seconds"].as_f64().unwrap_or(f64::NAN);
        let names = (name(from), name(to));
        story.figure(&format!("tcp_gbit_{}_{}", names.0, names.1), rate);
        story.claim(
            received == STREAM && wrong == 0,
            format!(
                "{:<4} -> {address}: {} octets, {wrong} wrong, {rate:.2} Gbit/s",
                names.0,
                count(received)
            ),
        );
    }
    Ok(())
}

fn looked_at(lab: &Lab, story: &mut Story, vm1: Place, peer: Place) -> Result<(), LabError> {
    story.chapter("What the operator sees");
    story.say("nicctl flows --tier hardware");
    story.show(&lab.show(&["flows", "--tier", "hardware"])?);
    story.say("nicctl stats");
    let stats = lab.settled_stats()?;
    story.show(&lab.show(&["stats"])?);
    let (created, destroyed, refused) = stats.rules();
    story.figure("rules_created", created);
    story.figure("rules_destroyed", destroyed);
    story.figure("rules_refused", refused);
    story.figure("all_packets_by_eswitch", stats.hardware());
    story.figure("all_packets_by_slow_path", stats.slow_path());
    for (verb, shown) in [("fdb", "nicctl fdb"), ("neighbors", "nicctl neighbors")] {
        story.say(shown);
        story.show(&lab.show(&[verb])?);
    }
    let key = format!(
        "udp,dl_src={},dl_dst={},nw_src={},nw_dst={},tp_src=20000,tp_dst={UDP}",
        vm1.mac_text(),
        peer.mac_text(),
        vm1.ipv4(),
        peer.ipv4()
    );
    story.say(format!("nicctl trace --in-port vm1 {key}"));
    let trace = ["trace", "--in-port", "vm1", &key];
    story.show(&lab.show(&trace)?);
    let verdict = lab.json(&trace)?;
    let tunnelled = verdict["actions"].as_str().is_some_and(|actions| actions.contains("encap_vxlan(16/"));
    story.claim(
        verdict["verdict"] == "FORWARD" && verdict["tier"] == "HARDWARE" && tunnelled,
        "such a packet goes into the tunnel, by the E-Switch",
    );
    let spoofed = key.replace(&vm1.mac_text(), &peer.mac_text());
    let verdict = lab.json(&["trace", "--in-port", "vm1", &spoofed])?;
    story.claim(
        verdict["verdict"] == "DROP",
        format!(
            "one with the peer's source does not: {}",
            verdict["dropReason"].as_str().unwrap_or("no reason is said")
        ),
    );
    Ok(())
}
