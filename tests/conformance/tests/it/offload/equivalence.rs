//! Thousands of rules drawn at random, and packets that hit them, nearly hit them and miss them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Instant;

use dpdk::FlowRule;
use nic_flow::action::Destination;
use nic_flow::execute::execute;
use nic_flow::extract::extract;
use nic_flow::field::{Field, L4};
use nic_flow::seam::{ActionKind, PacketBuf, Refusal, RuleSink};
use nic_flow::{Counters, PortId, Rule, Shape};
use sim::frame::Frame;
use sim::random::Random;

use super::judge::Card;
use super::rig::{Exit, PATIENCE, Rig, hex};
use super::sums;
use super::world::{self, Candidate};

/// States of the switch in one run.
const WORLDS: u64 = 1000;
/// Rules that are tried for one state of the switch; those that overlap another are left out.
const TRIED: usize = 24;
/// Packets under way at once; less than any queue holds.
const LOT: usize = 256;
/// What is shorter is no frame.
const ETHERNET_HEADER: usize = 14;

/// A rule in the switch, and what it must have counted.
struct Live {
    rule: Rule,
    handle: FlowRule,
    due: Counters,
}

/// What happened.
#[derive(Default)]
struct Tally {
    accepted: BTreeMap<&'static str, u32>,
    refused: BTreeMap<String, u32>,
    packets: u32,
    forwarded: u32,
    rewritten: u32,
    /// Rewritten packets of which the checksums were right and still are.
    sound: u32,
    /// Packets that went into a tunnel, by the length of what was put in front of them.
    entered: BTreeMap<usize, u32>,
    /// Frames that came out of a tunnel, likewise.
    left: BTreeMap<usize, u32>,
    dropped: u32,
    missed: u32,
    undersized: u32,
}

struct Run {
    rig: Rig,
    portable: bool,
    random: Random,
    live: Vec<Live>,
    tally: Tally,
}

impl Run {
    fn new(device: &str, portable: bool, seed: u64) -> Run {
        let (rig, random) = (Rig::new(device), Random::new(seed));
        Run { rig, portable, random, live: Vec::new(), tally: Tally::default() }
    }

    /// One state of the switch, from empty to empty.
    fn world(&mut self) {
        for _ in 0..TRIED {
            let candidate = world::candidate(&mut self.random, &self.rig.ports);
            self.offer(candidate);
        }
        let mut frames = Vec::new();
        let mut hits = Vec::new();
        for live in &self.live {
            let more = world::frames(&mut self.random, &live.rule, &self.rig.ports);
            hits.extend(more.first().cloned());
            frames.extend(more);
        }
        self.deliver(&frames);
        self.settle();
        // What hit each rule now misses.
        self.deliver(&hits);
    }

    /// Offers a rule to the card; it is taken, or refused for a good reason.
    fn offer(&mut self, candidate: Candidate) {
        let Candidate { rule, shape } = candidate;
        // Where rules overlap, hardware may take either: megaflows agree there, these would not.
        if self.live.iter().any(|live| live.rule.matches.overlaps(&rule.matches)) {
            return;
        }
        let card = Card { ports: &self.rig.ports, portable: self.portable };
        let answer = self.rig.sink.validate(&rule);
        match self.rig.sink.create(&rule) {
            Ok(handle) => {
                assert_eq!(answer, Ok(()), "{rule}");
                *self.tally.accepted.entry(shape.map_or("other", Shape::name)).or_default() += 1;
                self.live.push(Live { rule, handle, due: Counters::default() });
            }
            Err(refusal) => {
                assert_eq!(answer, Err(refusal), "{rule}");
                assert!(shape.is_none() || !card.must_take(&rule), "{rule}: {refusal}");
                assert!(card.may_refuse(&rule, refusal), "{rule}: {refusal}");
                *self.tally.refused.entry(reason(refusal)).or_default() += 1;
            }
        }
    }

    fn deliver(&mut self, frames: &[(PortId, Vec<u8>)]) {
        for port in self.rig.ports.clone() {
            let own: Vec<&[u8]> =
                frames.iter().filter(|(ingress, _)| *ingress == port).map(|(_, frame)| &frame[..]).collect();
            for lot in own.chunks(LOT) {
                self.lot(port, lot);
            }
        }
    }

    /// Sends frames in by one port. Each comes out where and as the flow IR says, in order.
    fn lot(&mut self, ingress: PortId, frames: &[&[u8]]) {
        let mut due: BTreeMap<Exit, Vec<(Vec<u8>, String)>> = BTreeMap::new();
        for &frame in frames {
            let (exits, story) = self.foretell(ingress, frame);
            for (exit, bytes) in exits {
                due.entry(exit).or_default().push((bytes, story.clone()));
            }
            self.rig.send(ingress, frame);
        }
        for (exit, due) in due {
            let got = self.rig.receive(exit, due.len());
            for (index, (bytes, story)) in due.iter().enumerate() {
                let came = got.get(index).map(|frame| hex(frame));
                assert_eq!(came, Some(hex(bytes)), "at {exit:?}, packet {index}: {story}");
            }
        }
    }

    /// What the flow IR says of a packet: where it comes out and as what.
    fn foretell(&mut self, ingress: PortId, frame: &[u8]) -> (Vec<(Exit, Vec<u8>)>, String) {
        self.tally.packets += 1;
        if frame.len() < ETHERNET_HEADER {
            // No wire carries one; the switch drops it before any rule sees it.
            self.tally.undersized += 1;
            return (Vec::new(), String::new());
        }
        let key = extract(frame, ingress);
        let mut hit = self.live.iter_mut().filter(|live| live.rule.matches.matches(&key));
        let story = format!("{} with key {key}", hex(frame));
        let Some(live) = hit.next() else {
            self.tally.missed += 1;
            return (vec![(Exit::Representor(ingress), frame.to_vec())], format!("{story} misses"));
        };
        assert!(hit.next().is_none(), "rules do not overlap");
        live.due.add(frame.len());
        let mut exits = Vec::new();
        let emit = |to, packet: &Frame| match to {
            Destination::Port(port) => exits.push((Exit::Wire(port), packet.data().to_vec())),
            Destination::Flood(_) => panic!("no card takes a flood"),
        };
        execute(&live.rule.actions, &mut Frame::new(frame), emit).expect("there is headroom");
        // Of a layer 4 that is not whole, such as a neighbour advertisement without target, no checksum
        // is known, and none follows.
        let broken = [Field::L4, Field::TunL4].map(|field| L4::from_bits(key.get(field)) == L4::Malformed);
        let right = broken == [false; 2] && sums::hold(frame) == Some(true);
        // A tunnel's datagram that goes without checksum stays so, also where it becomes another's.
        let bare = sums::is_bare(frame);
        for (_, bytes) in exits.iter().filter(|_| right) {
            let sound = sums::hold(bytes) != Some(false) || (bare && sums::is_bare(bytes));
            assert!(sound, "{} becomes {}: {}", hex(frame), hex(bytes), live.rule);
            self.tally.sound += u32::from(bytes != frame);
        }
        if let Some((_, bytes)) = exits.first() {
            let (longer, shorter) =
                (bytes.len().saturating_sub(frame.len()), frame.len().saturating_sub(bytes.len()));
            let has = |kind| live.rule.actions.iter().any(|action| ActionKind::from(action) == kind);
            match (has(ActionKind::EncapVxlan), has(ActionKind::DecapVxlan)) {
                (true, false) => *self.tally.entered.entry(longer).or_default() += 1,
                (false, true) => *self.tally.left.entry(shorter).or_default() += 1,
                _ => {}
            }
        }
        match exits.first() {
            None => self.tally.dropped += 1,
            Some((_, bytes)) if bytes != frame => self.tally.rewritten += 1,
            Some(_) => self.tally.forwarded += 1,
        }
        (exits, format!("{story} hits {}", live.rule))
    }

    /// Destroys all rules; each counted what it forwarded or dropped.
    fn settle(&mut self) {
        for Live { rule, handle, due } in std::mem::take(&mut self.live) {
            // A dropped packet comes out nowhere, so only its count says that the switch is done.
            let end = Instant::now() + PATIENCE;
            while self.rig.sink.query(&handle).expect("a rule is counted").packets < due.packets
                && Instant::now() < end
            {
                std::thread::yield_now();
            }
            assert_eq!(self.rig.sink.query(&handle), Ok(due), "{rule}");
            assert_eq!(self.rig.sink.destroy(handle).expect("a rule is destroyed"), due, "{rule}");
        }
    }

    fn finish(mut self, worlds: u64, start: Instant) -> Tally {
        let rest = self.rig.rest();
        assert!(rest.is_empty(), "nobody expected {rest:?}");
        assert_eq!(self.rig.buffers_in_use(), 0);
        let Tally {
            accepted,
            refused,
            packets,
            forwarded,
            rewritten,
            sound,
            entered,
            left,
            dropped,
            missed,
            undersized,
        } = &self.tally;
        let rules: u32 = accepted.values().sum();
        println!(
            "{worlds} worlds, {rules} rules, {packets} packets ({forwarded} forwarded, {rewritten} rewritten of which {sound} with checksums, \
             {dropped} dropped, {missed} missed, {undersized} too short) in {:?}",
            start.elapsed()
        );
        println!("into tunnels: {entered:?}, out of tunnels: {left:?}");
        println!("accepted: {accepted:?}");
        println!("refused: {refused:#?}");
        self.tally
    }
}

fn reason(refusal: Refusal) -> String {
    match refusal {
        Refusal::DriverItem { errno, .. } => format!("driver: an item ({errno})"),
        Refusal::DriverAction { errno, .. } => format!("driver: an action ({errno})"),
        Refusal::NoPort(_) => "no port".into(),
        other => format!("{other:?}"),
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// `NIC_AGENT_WORLDS` asks for more states of the switch, `NIC_AGENT_SEED` for others.
fn play(device: &str, portable: bool) -> Tally {
    let start = Instant::now();
    let worlds = number("NIC_AGENT_WORLDS", WORLDS).max(WORLDS);
    let mut run = Run::new(device, portable, number("NIC_AGENT_SEED", 0));
    for _ in 0..worlds {
        run.world();
    }
    run.finish(worlds, start)
}

fn at_least<K: Ord + Debug>(counts: &BTreeMap<K, u32>, key: &K, least: u32) {
    let count = counts.get(key).copied().unwrap_or(0);
    assert!(count >= least, "{key:?}: {count} < {least}");
}

fn enough(tally: &Tally) {
    for shape in &Shape::ALL[..Shape::FullKey.index()] {
        at_least(&tally.accepted, &shape.name(), 20);
    }
    at_least(&tally.accepted, &"other", 20);
    assert!(tally.accepted.values().sum::<u32>() >= 1500);
    assert!(tally.packets >= 15_000, "{}", tally.packets);
    // Both IP versions, without a tag and with one.
    for overhead in [50, 54, 70, 74] {
        at_least(&tally.entered, &overhead, 50);
        at_least(&tally.left, &overhead, 50);
    }
    for count in [tally.forwarded, tally.rewritten, tally.sound, tally.dropped, tally.missed] {
        assert!(count >= 500, "{count}");
    }
}

#[test]
fn the_portable_switch_does_with_every_packet_what_the_flow_ir_says() {
    let tally = play("net_eswitch0", true);
    enough(&tally);
    at_least(&tally.refused, &"driver: an item (errno 95)".to_owned(), 20);
    at_least(&tally.refused, &"driver: an action (errno 95)".to_owned(), 20);
}

#[test]
fn the_full_switch_does_with_every_packet_what_the_flow_ir_says() {
    let tally = play("net_eswitch1", false);
    enough(&tally);
    assert!(!tally.refused.keys().any(|reason| reason.starts_with("driver: an item")));
}
