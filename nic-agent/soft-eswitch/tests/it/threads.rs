//! Rules come and go in several threads while another forwards: no packet is counted twice, none is
//! missing, and a counter that was final stays final.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nic_flow::extract::extract;
use nic_flow::seam::BURST;
use nic_flow::{Action, Counters, Field, FlowMask, Match, PortId};
use soft_eswitch::{
    CreateError, DestroyError, Egress, Faults, Forwarder, Profile, RuleCounts, Switch, SwitchRule, Unsent,
};

use crate::lab::{Frame, burst, switch, udp, vf};

const CONTROL_THREADS: u16 = 3;
const FLOWS: u16 = 8;
const BURSTS: usize = 20_000;

/// Counts packets and forgets them.
#[derive(Default)]
struct Count {
    sent: u64,
    missed: u64,
}

impl Egress<Frame> for Count {
    fn transmit(&mut self, _: PortId, _: Frame) -> Result<(), Unsent> {
        self.sent += 1;
        Ok(())
    }

    fn to_representor(&mut self, _: PortId, _: Frame) -> Result<(), Unsent> {
        self.missed += 1;
        Ok(())
    }

    fn copy(&mut self, packet: &Frame) -> Option<Frame> {
        Some(packet.clone())
    }
}

/// The rule of one flow of one control thread.
fn rule(thread: u16, flow: u16) -> SwitchRule {
    let key = extract(&udp(thread, flow), vf(0));
    let mask = FlowMask::exact(Field::L4Src) | FlowMask::exact(Field::L4Dst);
    SwitchRule {
        priority: u32::from(flow) % 2,
        matches: Match::new(key, mask),
        actions: [Action::Output(vf(1))].into_iter().collect(),
        count: true,
    }
}

/// Creates, queries and destroys until told to stop; returns all that its rules counted.
fn control(switch: &Switch, thread: u16, stop: &AtomicBool, changes: &AtomicU64) -> Counters {
    let mut total = Counters::default();
    while !stop.load(Ordering::Relaxed) {
        for flow in 0..FLOWS {
            let created = switch.create(vf(thread), rule(thread, flow)).unwrap();
            assert_eq!(switch.create(vf(9), rule(thread, flow)), Err(CreateError::Exists(created)));
            let seen = switch.query(created).unwrap();
            let reset = switch.query_and_reset(created).unwrap();
            assert!(seen.packets <= reset.packets);
            let last = switch.destroy(created).unwrap();
            assert_eq!(switch.destroy(created), Err(DestroyError::NoRule));
            total += reset;
            total += last;
            changes.fetch_add(2, Ordering::Relaxed);
        }
    }
    total
}

#[test]
fn every_packet_is_counted_once_while_threads_change_the_rules() {
    let switch = Arc::new(switch(Profile::Full, 100));
    let stop = AtomicBool::new(false);
    let changes = AtomicU64::new(0);
    let frames: Vec<_> = (0..BURST as u16)
        .map(|n| Frame::new(0, &udp(n % CONTROL_THREADS, n / CONTROL_THREADS % FLOWS)))
        .collect();
    let mut count = Count::default();
    let mut hits = 0;
    let counted = thread::scope(|scope| {
        let (switch, stop, changes) = (&switch, &stop, &changes);
        let controls: Vec<_> = (0..CONTROL_THREADS)
            .map(|thread| scope.spawn(move || control(switch, thread, stop, changes)))
            .collect();
        let mut forwarder = Forwarder::new(switch.clone(), 64);
        let mut bursts = 0;
        // Some packets must meet a rule and some must not, however the threads are scheduled.
        while bursts < BURSTS || count.sent == 0 || count.missed == 0 || changes.load(Ordering::Relaxed) < 200
        {
            forwarder.forward(vf(0), &mut burst(&frames), &mut count).unwrap();
            bursts += 1;
        }
        stop.store(true, Ordering::Relaxed);
        let mut total = Counters::default();
        for control in controls {
            total += control.join().unwrap();
        }
        let stats = switch.stats(vf(0)).unwrap();
        assert_eq!(stats.received.packets, (bursts * BURST) as u64);
        assert_eq!(stats.received.packets, stats.hits.packets + stats.misses.packets);
        assert_eq!(stats.misses.packets, count.missed);
        hits = stats.hits.packets;
        total
    });
    assert_eq!(counted.packets, hits);
    assert_eq!(counted.packets, count.sent);
    assert_eq!(counted.bytes, count.sent * udp(0, 0).len() as u64);
    assert_eq!(switch.stats(vf(1)).unwrap().sent, counted);
    assert!(switch.is_empty());
}

/// Rules lag, linger and are lost under two threads that create and destroy, while one forwards and another
/// lets time pass and changes the faults.
#[test]
fn an_unreliable_switch_comes_to_rest_without_rules_when_its_threads_do() {
    const FAULTS: [&str; 3] =
        ["lag:3+destroy_lag:3+create:eagain:0.1", "lose:0.5:3+counters:late:2+destroy:eio:0.3", "none"];
    let switch = Arc::new(switch(Profile::Full, 100));
    let stop = AtomicBool::new(false);
    let frames: Vec<_> = (0..FLOWS).map(|flow| Frame::new(0, &udp(0, flow))).collect();
    let mut forwarder = Forwarder::new(switch.clone(), 64);
    let mut count = Count::default();
    thread::scope(|scope| {
        let (switch, stop) = (&switch, &stop);
        for thread in 0..2 {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let created = (0..FLOWS).map(|flow| switch.create(vf(thread), rule(thread, flow)));
                    let created: Vec<_> = created.collect();
                    for handle in created.into_iter().flatten() {
                        let _ = switch.query(handle);
                        while let Err(error) = switch.destroy(handle) {
                            assert_ne!(error, DestroyError::NoRule);
                        }
                    }
                }
            });
        }
        let time = scope.spawn(move || {
            for now in 0..3000 {
                if now % 50 == 0 {
                    switch.set_faults(FAULTS[now / 50 % 3].parse().unwrap()).unwrap();
                }
                switch.advance(Duration::from_millis(now as u64));
                switch.lose(1);
                thread::yield_now();
            }
        });
        let mut bursts = 0;
        while !time.is_finished() {
            forwarder.forward(vf(0), &mut burst(&frames), &mut count).unwrap();
            bursts += 1;
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(count.sent + count.missed, bursts * u64::from(FLOWS));
    });
    switch.set_faults(Faults::default()).unwrap();
    assert_eq!(switch.rule_counts(), RuleCounts::default());
    let before = count.sent;
    forwarder.forward(vf(0), &mut burst(&frames), &mut count).unwrap();
    assert_eq!(count.sent, before, "no rule is left that packets meet");
}

#[test]
fn a_flush_takes_all_rules_of_a_port_at_once_while_packets_pass() {
    let switch = Arc::new(switch(Profile::Full, 100));
    let stop = AtomicBool::new(false);
    let frames: Vec<_> = (0..FLOWS).map(|flow| Frame::new(0, &udp(0, flow))).collect();
    thread::scope(|scope| {
        let (switch, stop) = (&switch, &stop);
        let control = scope.spawn(move || {
            let mut flushes = 0;
            while !stop.load(Ordering::Relaxed) {
                let any = switch.create(vf(5), SwitchRule { matches: Match::ANY, ..rule(0, 0) }).unwrap();
                switch.create(vf(5), SwitchRule { priority: 7, matches: Match::ANY, ..rule(0, 0) }).unwrap();
                assert_eq!(switch.flush(vf(5)), 2);
                assert_eq!(switch.destroy(any), Err(DestroyError::NoRule));
                flushes += 1;
            }
            flushes
        });
        let mut forwarder = Forwarder::new(switch.clone(), 64);
        for _ in 0..BURSTS {
            let mut count = Count::default();
            forwarder.forward(vf(0), &mut burst(&frames), &mut count).unwrap();
            // One state serves the burst: all packets hit or none.
            assert!(count.sent == 0 || count.missed == 0, "{} sent, {} missed", count.sent, count.missed);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(control.join().unwrap() > 0);
    });
    assert!(switch.is_empty());
}
