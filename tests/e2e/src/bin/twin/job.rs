//! The main job, on a card that has just been switched on.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use e2e::overlay::{Endpoint, Underlay};
use e2e::story::{Story, count};
use e2e::{Lab, LabError, Node, Place, Stats, number};

use crate::card::{self, RATE, TCP, UDP};

/// The packets that are counted one by one, each way.
const PACKETS: u64 = 2_000;
/// Packets that come faster, and how many a second.
const HURRIED: u64 = 5_000;
const HURRY: u64 = 1_000;
/// Octets of each TCP stream.
const STREAM: u64 = 2 << 20;
/// Several times what the image lets pass between two readings of counters.
const COUNTERS: Duration = Duration::from_millis(2_500);
/// How long it may take until the E-Switch has a flow.
const IN_HARDWARE: Duration = Duration::from_secs(60);
/// How long it may take until something is forwarded, when the configuration is in force.
const FIRST_PACKET: Duration = Duration::from_secs(60);
/// What a card may use of its memory beside hugepages.
const MEMORY_KIB: u64 = 200 << 10;

pub(crate) fn tell(lab: &mut Lab, story: &mut Story) -> Result<(), LabError> {
    let (vm1, vm2, peer) = (Node::Host1.place(), Node::Host2.place(), Node::Wire.place());
    let power_on = Instant::now();
    lab.power_on()?;
    lab.make_overlay(Endpoint::Kernel, Underlay::Ipv4)?;
    lab.await_card()?;
    story.chapter("The image boots, and answers over the management link");
    let seconds = power_on.elapsed().as_secs_f64();
    story.say(format!("from power-on to an answer over gRPC: {seconds:.0} s, emulated"));
    story.figure("seconds_to_answer", seconds);
    configured(lab, story, vm1, vm2)?;
    first_packet(lab, story, vm1, peer)?;
    let seconds = power_on.elapsed().as_secs_f64();
    story.say(format!("from power-on to the first packet that was forwarded: {seconds:.0} s, emulated"));
    story.figure("seconds_to_forwarding", seconds);
    in_order(lab, story)?;
    reached(lab, story, &[(vm1, peer), (peer, vm2), (vm2, vm1)])?;
    counted(lab, story, &[(vm1, peer, "vm1"), (peer, vm1, "uplink")])?;
    streams(lab, story, &[(vm1, peer), (peer, vm2)])?;
    hurried(lab, story, vm1, peer)
}

/// What is lost when packets come faster than an emulated processor may be let run, and where. The tap device's
/// queue is in front of the card: a card whose wire is full has pause frames or loses them too.
fn hurried(lab: &Lab, story: &mut Story, from: Place, to: Place) -> Result<(), LabError> {
    story.chapter("Faster than an emulated processor");
    let dropped = |lab: &Lab| lab.statistic(from.node, "eth0", "tx_dropped");
    let before = dropped(lab)?;
    let received = lab.udp(from, to, UDP, HURRIED, HURRY)?;
    let queue = dropped(lab)? - before;
    let lost = HURRIED - received.distinct;
    story.say(format!(
        "{} at {}/s: {} did not arrive, of which the queue before the machine dropped {}",
        count(HURRIED),
        count(HURRY),
        count(lost),
        count(queue)
    ));
    story.figure("hurried_lost", lost);
    story.figure("hurried_lost_before_the_machine", queue);
    story.claim(received.duplicates == 0, "none arrived twice");
    Ok(())
}

/// Waits for the first answer that comes through it.
fn first_packet(lab: &mut Lab, story: &mut Story, from: Place, to: Place) -> Result<(), LabError> {
    lab.until("a packet that is forwarded", FIRST_PACKET, |lab| {
        let answered = number(&lab.ping(from, to.ipv4().into(), 1, 1.0)?["answered"]);
        Ok(if answered == 1 { Ok(()) } else { Err("no answer".into()) })
    })?;
    story.say(format!("{} reaches {}", from.node.name(), to.node.name()));
    Ok(())
}

fn in_order(lab: &mut Lab, story: &mut Story) -> Result<(), LabError> {
    story.chapter("What its console says of it");
    let units = lab.shell("systemctl show -p ActiveState -p NRestarts nic-agent nic-datapath")?;
    let lines = |wanted: &str| units.lines().filter(|line| *line == wanted).count();
    story.claim(lines("ActiveState=active") == 2, "both units are active");
    story.claim(lines("NRestarts=0") == 2, "neither was restarted");
    let failed = lab.shell("systemctl list-units --failed --plain --no-legend")?;
    story.claim(failed.trim().is_empty(), format!("no unit failed {failed}"));
    let user = lab.shell("ps -o user= -C nic-agent")?;
    story.claim(user.trim() == "nic-agent", format!("nic-agent runs as the user {}", user.trim()));
    let host = lab.shell("cat /proc/sys/kernel/hostname")?;
    story.claim(host.trim() == "twin", format!("its hostname is from its parameters: {}", host.trim()));
    let root = lab.shell("grep ' / ' /proc/mounts; cat /run/nic/slot /run/nic/data")?;
    story.claim(root.contains("erofs ro"), "its root file system is read-only, and proved block by block");
    story.claim(root.contains("root-a") && root.contains("found"), "it runs from slot a, and has its data");
    let memory = lab.shell("cat /proc/meminfo")?;
    let kib = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim_start_matches(':').trim().split(' ').next()?.parse::<u64>().ok())
    };
    let field = |name| kib(name).unwrap_or(0);
    let used = field("MemTotal") - field("MemAvailable") - field("Hugetlb");
    story.figure("memory_used_kib", used);
    story.claim(used <= MEMORY_KIB, format!("memory used beside hugepages: {} MiB", used / 1024));
    Ok(())
}

fn configured(lab: &Lab, story: &mut Story, vm1: Place, vm2: Place) -> Result<(), LabError> {
    story.chapter("The host configures it, over gRPC through its shim");
    let ping = lab.ping(vm1, vm2.ipv4().into(), 2, 0.5)?;
    let answered = number(&ping["answered"]);
    story.claim(answered == 0, format!("before that vm1 pings vm2: {answered} of 2 answered"));
    card::configure(lab, story)
}

fn reached(lab: &Lab, story: &mut Story, ways: &[(Place, Place)]) -> Result<(), LabError> {
    story.chapter("Everybody reaches everybody: ARP, neighbor discovery, ICMP");
    for &(from, to) in ways {
        for address in [IpAddr::V4(to.ipv4()), IpAddr::V6(to.ipv6())] {
            let ping = lab.ping(from, address, 5, 2.0)?;
            let answered = number(&ping["answered"]);
            story
                .claim(answered == 5, format!("{} -> {address}: {answered} of 5 answered", from.node.name()));
        }
    }
    Ok(())
}

fn counted(lab: &mut Lab, story: &mut Story, ways: &[(Place, Place, &str)]) -> Result<(), LabError> {
    story.chapter("Numbered packets, into the tunnel and out of it, by the E-Switch of the machine");
    for &(from, to, port) in ways {
        lab.udp(from, to, UDP, 1, RATE)?;
        // Not ARP, which stays in software.
        let texts = [&format!("eth_dst={}", to.mac_text()), "eth_type=0x0800"];
        lab.await_all_hardware(port, &texts, IN_HARDWARE)?;
        let before = stats(lab)?;
        let management = lab.capture_management()?;
        let received = lab.udp(from, to, UDP, PACKETS, RATE)?;
        let after = stats(lab)?;
        let way = format!("{} -> {}", from.node.name(), to.node.name());
        card::all_arrived(story, &way, &received, PACKETS);
        let of = |counter: &str| after.port(from.device, counter) - before.port(from.device, counter);
        let (hardware, software) = (of("hardwarePackets"), of("rxPackets"));
        story.claim(
            hardware >= PACKETS && software * 100 <= PACKETS,
            format!("counted: {} by the E-Switch, {} by the slow path", count(hardware), count(software)),
        );
        let frames = management.finish(usize::MAX, Duration::ZERO)?;
        let strays = frames.iter().filter(|frame| is_of_a_place(frame)).count();
        story.claim(
            strays == 0,
            format!("of these the host's management link saw {strays}, of {} frames in all", frames.len()),
        );
    }
    Ok(())
}

/// The counters when the E-Switch's have been read after everything that was sent so far: the image reads
/// them less often than a lab does.
fn stats(lab: &Lab) -> Result<Stats, LabError> {
    std::thread::sleep(COUNTERS);
    lab.settled_stats()
}

/// Whether a frame is from or to one of the places, by its MAC addresses.
fn is_of_a_place(frame: &[u8]) -> bool {
    let macs = e2e::netns::PLACES.map(Place::mac);
    macs.iter().any(|mac| frame.get(..6) == Some(mac) || frame.get(6..12) == Some(mac))
}

fn streams(lab: &Lab, story: &mut Story, ways: &[(Place, Place)]) -> Result<(), LabError> {
    story.chapter("TCP, every byte compared");
    for &(from, to) in ways {
        let result = lab.tcp(from, SocketAddr::new(to.ipv4().into(), TCP), to, STREAM)?;
        let (received, wrong) = (number(&result["received"]), number(&result["wrong"]));
        story.claim(
            received == STREAM && wrong == 0,
            format!("{} -> {}: {} octets, {wrong} wrong", from.node.name(), to.node.name(), count(received)),
        );
    }
    Ok(())
}

/// Commands to look around with.
pub(crate) fn invite(lab: &Lab) {
    let folder = lab.folder().display();
    println!("\nThe twin goes on. As root:");
    println!("  nicctl --server unix:{folder}/shim.sock status; ... flows; ... stats");
    println!(
        "  socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:{folder}/console.sock    # its console; Ctrl-] leaves"
    );
    println!("  less -R {folder}/console.log");
    println!("  ip netns exec {} ping {}", lab.namespace(Node::Host1), Node::Wire.place().ipv4());
    println!("and at last:\n  cargo xtask twin --clean");
}
