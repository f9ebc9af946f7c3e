use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dpdk::flow::{Action, Attr, Eth, Item, Masked};

use crate::packets::{MAC_B, plain};
use crate::{PATIENCE, Rig};

/// Rules come and go from several threads while packets flow: each packet is forwarded by a rule or
/// missed, none is lost, and what rules counted is what left.
#[test]
fn rules_change_under_traffic_and_no_packet_is_lost() {
    const PACKETS: usize = 20_000;
    let mut rig = Rig::with(crate::eal(), "net_eswitch6", 8191, |mut config| {
        config.rx_descriptors = 4096;
        config
    });
    let (into, out) = (rig.wire("p0"), rig.wire("pf0vf0"));
    let port = rig.port("p0").clone();
    let actions = [Action::Count, Action::RepresentedPort(rig.dev("pf0vf0"))];
    let matching = |priority| {
        let eth = Masked::new(
            Eth { dst: MAC_B, ..Default::default() },
            Eth { dst: [0xff; 6], ..Default::default() },
        );
        let pattern = [Item::RepresentedPort(port.id()), Item::Eth(eth)];
        port.create_flow(&Attr { priority, ..Attr::TRANSFER }, &pattern, &actions)
    };
    let stop = AtomicBool::new(false);
    let made = AtomicU32::new(0);
    let (mut missed, mut left) = (0, 0);
    thread::scope(|scope| {
        for worker in 0..2u32 {
            let (stop, made, matching) = (&stop, &made, &matching);
            scope.spawn(move || {
                let mut created = 0u32;
                while !stop.load(Ordering::Relaxed) {
                    let rule = matching(worker * 1000 + created % 10).unwrap();
                    rule.query_count().unwrap();
                    // Now and then a rule stays for a while, and now and then there is none.
                    if created % 16 == 7 {
                        thread::sleep(Duration::from_micros(200));
                    }
                    rule.destroy().unwrap();
                    created += 1;
                    made.fetch_add(1, Ordering::Relaxed);
                    if created.is_multiple_of(16) {
                        thread::sleep(Duration::from_micros(200));
                    }
                }
                assert!(created > 10);
            });
        }
        scope.spawn(|| {
            for number in 0..PACKETS {
                // However the threads are scheduled, rules come and go between the packets.
                let due = (number / 500 * 32) as u32;
                while made.load(Ordering::Relaxed) < due && !stop.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                let frame = plain(&(number as u32).to_be_bytes());
                while into.send(&frame).is_err() {
                    thread::yield_now();
                }
            }
        });
        let queue = &mut rig.queues("p0").rx[0];
        let end = Instant::now() + PATIENCE * 6;
        let mut burst = dpdk::Burst::new();
        while missed + left < PACKETS && Instant::now() < end {
            missed += queue.receive(&mut burst);
            burst.clear();
            while out.receive(Duration::ZERO).is_some() {
                left += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(missed + left, PACKETS, "{missed} missed, {left} forwarded");
    assert!(missed > 0 && left > 0, "{missed} missed, {left} forwarded");
    assert_eq!(rig.port("p0").stats().unwrap().rx_missed, 0);
    assert_eq!(rig.pool.in_use(), 0);
}
