//! Nanoseconds a packet takes in the worker: when it hits the cache, and when it is translated.
//!
//! Packets are in memory and stay there; what a device costs is not in these figures. Each iteration
//! is one packet, in bursts of 32.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use nic_flow::seam::{BURST, Burst, ChecksumState, NoHeadroom, PacketBuf, PacketIo};
use nic_flow::{Action, Field, Match, PortId};
use nic_pipeline::Snapshot;
use nic_policy::{Attachment, Change, Delta, FlowRule, FlowRuleId, Object, Port, Revision};
use nic_slowpath::{Config, Worker};

const PORTS: [PortId; 2] = [PortId::from_bits(0x8000), PortId::from_bits(0x8001)];

/// A packet that nothing lengthens.
#[derive(Debug)]
struct Packet(Box<[u8; 64]>);

impl PacketBuf for Packet {
    fn data(&self) -> &[u8] {
        &self.0[..]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.0[..]
    }

    fn prepend(&mut self, _: usize) -> Result<(), NoHeadroom> {
        Err(NoHeadroom)
    }

    fn trim_front(&mut self, _: usize) {}

    fn checksum(&self) -> ChecksumState {
        ChecksumState::Complete
    }

    fn set_checksum_complete(&mut self) {}
}

/// What leaves the second port enters by the first one again, as the next of `flows` flows.
struct Loop {
    packets: Vec<Packet>,
    flows: u32,
    next: u32,
}

impl Loop {
    fn new(flows: u32) -> Loop {
        let packets = (0..BURST).map(|_| Packet(Box::new(udp())));
        Loop { packets: packets.collect(), flows, next: 0 }
    }
}

impl PacketIo for Loop {
    type Buf = Packet;

    fn ports(&self) -> &[PortId] {
        &PORTS
    }

    fn receive(&mut self, port: PortId, burst: &mut Burst<Packet>) -> usize {
        if port != PORTS[0] {
            return 0;
        }
        let mut received = 0;
        while let Some(mut packet) = self.packets.pop() {
            // The flow's number stands in the source address.
            packet.0[26..30].copy_from_slice(&self.next.to_be_bytes());
            self.next = (self.next + 1) % self.flows;
            received += usize::from(burst.push(packet).is_ok());
        }
        received
    }

    fn send(&mut self, _: PortId, burst: &mut Burst<Packet>) -> usize {
        let sent = burst.len();
        self.packets.extend(std::mem::take(burst));
        sent
    }

    fn copy(&mut self, packet: &Packet) -> Option<Packet> {
        Some(Packet(packet.0.clone()))
    }

    fn allocate(&mut self, frame: &[u8]) -> Option<Packet> {
        frame.try_into().ok().map(|frame| Packet(Box::new(frame)))
    }
}

fn udp() -> [u8; 64] {
    let mut frame = [0; 64];
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14] = 0x45;
    frame[17] = 50;
    frame[22] = 64;
    frame[23] = 17;
    frame[30..34].copy_from_slice(&[10, 0, 0, 1]);
    frame[34..38].copy_from_slice(&[0, 53, 0, 53]);
    frame[39] = 30;
    frame
}

/// Rules that make every flow a pair of addresses.
fn policy() -> (Snapshot, Vec<nic_pipeline::Touched>) {
    let from = Match::ANY.is(Field::InPort, PORTS[0].bits().into());
    let ip = from.is(Field::VlanCount, 0).is(Field::EthType, 0x0800).is(Field::L3, 1);
    let rule = |id, priority, matches, port| {
        let mut actions = nic_flow::ActionList::new();
        actions.push(Action::Output(port)).expect("one action");
        Change::Put(Object::FlowRule(FlowRule { id: FlowRuleId(id), priority, matches, actions }))
    };
    let port = |id| {
        Change::Put(Object::Port(Port {
            id,
            enabled: true,
            source_macs: None,
            bridges: Attachment::default(),
            learning: false,
            mac_limit: 0,
            flood_budget: 0,
        }))
    };
    let mut changes = vec![port(PORTS[0]), port(PORTS[1]), rule(0, 1, from, PORTS[1])];
    // Other rules look at the whole source address and match none of the packets.
    for n in 0..100u32 {
        let source = ip.is(Field::IpSrc, u128::from(0xffff_0000 + n));
        changes.push(rule(u64::from(n) + 1, 2, source.is(Field::IpDst, 1), PORTS[0]));
    }
    let delta = Delta { revision: Revision(1), replace_all: true, changes };
    let (snapshot, mut touched) = Snapshot::empty().apply(&delta).expect("ids are unique");
    let (snapshot, devices) = snapshot.with_devices(&PORTS);
    touched.extend(devices);
    (snapshot, touched)
}

fn worker(flows: u32, cached: u32) -> Worker<Loop> {
    let config = Config { flows: cached, flows_per_port: cached, offload: false, ..Config::default() };
    let mut worker = Worker::new(Loop::new(flows), config);
    let (snapshot, touched) = policy();
    worker.publish(snapshot, &touched, Duration::ZERO);
    worker
}

fn polls(worker: &mut Worker<Loop>, packets: u64) -> Duration {
    let start = Instant::now();
    let mut done = 0;
    while done < packets {
        done += u64::from(black_box(worker.poll(Duration::from_secs(1))).packets);
    }
    // A burst that is not whole is not worth an exact figure.
    start.elapsed().mul_f64(packets as f64 / done as f64)
}

fn packets(criterion: &mut Criterion) {
    for flows in [1, 1 << 10, 1 << 16] {
        let mut worker = worker(flows, 1 << 17);
        polls(&mut worker, u64::from(flows));
        criterion.bench_function(&format!("hit/{flows} flows"), |bencher| {
            bencher.iter_custom(|packets| polls(&mut worker, packets));
        });
        let upcalls: u64 = worker.stats().ports.iter().map(|port| port.upcalls).sum();
        assert!(upcalls <= u64::from(flows), "every packet but the first of its flow hits");
    }
    let mut uncached = worker(1 << 20, 0);
    criterion.bench_function("upcall/not cached", |bencher| {
        bencher.iter_custom(|packets| polls(&mut uncached, packets));
    });
    criterion.bench_function("upcall/cached", |bencher| {
        bencher.iter_custom(|packets| {
            let mut total = Duration::ZERO;
            let mut left = packets;
            // A worker for each batch, so that the cache is never full.
            while left > 0 {
                let batch = left.min(1 << 15);
                total += polls(&mut worker(1 << 20, 1 << 16), batch);
                left -= batch;
            }
            total
        });
    });
}

fn main() {
    let mut criterion = Criterion::default()
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_secs(1))
        .configure_from_args();
    packets(&mut criterion);
    criterion.final_summary();
}
