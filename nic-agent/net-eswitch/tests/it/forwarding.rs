use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use dpdk::flow::{Action, Eth, Ipv4, Item, Masked, Udp, Vlan};
use dpdk::{Burst, Mbuf};
use nix::poll::{PollFd, PollFlags};

use crate::packets::{MAC_A, checksums_hold, ethernet, plain, udp4};
use crate::{PATIENCE, Rig, SILENCE};

const ALL: [u8; 4] = [0xff; 4];

/// `eth / ipv4 dst is .. / udp dst is .. / end`
fn to_udp(dst: [u8; 4], port: u16) -> [Item; 3] {
    let ip = Masked::new(Ipv4 { dst, ..Default::default() }, Ipv4 { dst: ALL, ..Default::default() });
    let udp = Masked::new(
        Udp { dst_port: port, ..Default::default() },
        Udp { dst_port: 0xffff, ..Default::default() },
    );
    [Item::Eth(Masked::any()), Item::Ipv4(ip), Item::Udp(udp)]
}

fn packet(rig: &Rig, bytes: &[u8]) -> Mbuf {
    let mut mbuf = rig.pool.alloc().expect("the pool has room");
    mbuf.set_data(bytes).expect("the bytes fit");
    mbuf
}

#[test]
fn misses_reach_the_representor_and_what_it_sends_passes_no_rule() {
    let mut rig = Rig::with(crate::eal(), "net_eswitch0", 1023, |mut config| {
        config.rx_interrupts = true;
        config
    });
    let frame = plain(b"never seen before");
    rig.wire("pf0vf0").send(&frame).unwrap();
    assert_eq!(rig.missed("pf0vf0", PATIENCE), Some(frame));
    assert_eq!(rig.missed("p0", Duration::ZERO), None);

    // A tag is part of the bytes.
    let tagged = ethernet(&[0x6005, 7], 0x0800, &udp4([1, 1, 1, 1], [2, 2, 2, 2], (1, 2), b"x"));
    rig.wire("p0").send(&tagged).unwrap();
    assert_eq!(rig.missed("p0", PATIENCE), Some(tagged));

    // A rule that drops all that comes from the uplink does not touch what is sent out of it.
    let rule = rig.rule("p0", &[], &[Action::Count, Action::Drop]).unwrap();
    let mut burst = Burst::new();
    burst.push(packet(&rig, &plain(b"out"))).unwrap();
    let short = packet(&rig, b"too short");
    burst.push(short).unwrap();
    burst.push(packet(&rig, &plain(b"out too"))).unwrap();
    assert_eq!(rig.queues("p0").tx[0].send(&mut burst), 3);
    assert_eq!(rig.wire("p0").receive(PATIENCE), Some(plain(b"out")));
    assert_eq!(rig.wire("p0").receive(PATIENCE), Some(plain(b"out too")));
    assert_eq!(rule.query_count().unwrap().packets, Some(0));
    let stats = rig.port("p0").stats().unwrap();
    assert_eq!((stats.tx_packets, stats.tx_errors, stats.rx_packets), (2, 1, 1));
    assert_eq!(stats.tx_bytes, (plain(b"out").len() + plain(b"out too").len()) as u64);
    rule.destroy().unwrap();
    burst.push(packet(&rig, &plain(&[7; 1500]))).unwrap();
    assert_eq!(rig.queues("p0").tx[0].send(&mut burst), 1);
    let stats = rig.port("p0").stats().unwrap();
    assert_eq!((stats.tx_packets, stats.tx_errors), (2, 2), "longer than the MTU, counted once");

    several_buffers_are_sent_as_one_frame(&mut rig);
    a_sleeping_reader_is_woken_by_the_first_frame(&mut rig);
    drop(burst);
    assert_eq!(rig.pool.in_use(), 0, "no buffer is lost");
}

fn several_buffers_are_sent_as_one_frame(rig: &mut Rig) {
    let frame = plain(&[7; 700]);
    let mut head = packet(rig, &frame[..100]);
    head.chain(packet(rig, &frame[100..101])).unwrap();
    head.chain(packet(rig, &frame[101..])).unwrap();
    let mut burst = Burst::new();
    burst.push(head).unwrap();
    assert_eq!(rig.queues("pf0vf1").tx[0].send(&mut burst), 1);
    assert_eq!(rig.wire("pf0vf1").receive(PATIENCE), Some(frame));
}

fn a_sleeping_reader_is_woken_by_the_first_frame(rig: &mut Rig) {
    let wire = rig.wire("pf0vf1");
    let queue = &mut rig.queues("pf0vf1").rx[0];
    let wait = |fd: BorrowedFd<'_>, milliseconds: u16| {
        nix::poll::poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], milliseconds).unwrap()
    };
    let mut burst = Burst::new();
    for round in 0..20u8 {
        queue.arm_interrupt().unwrap();
        assert_eq!(wait(queue.interrupt_fd().unwrap(), 0), 0, "round {round}: nothing waits yet");
        let start = Instant::now();
        wire.send(&plain(&[round])).unwrap();
        assert_eq!(wait(queue.interrupt_fd().unwrap(), 5000), 1, "round {round}");
        let woken = start.elapsed();
        assert!(woken < Duration::from_millis(500), "round {round}: {woken:?}");
        queue.disarm_interrupt().unwrap();
        assert_eq!(queue.receive(&mut burst), 1, "what woke the reader is there");
        burst.clear();
    }
    // What came before the reader armed raises the event too.
    wire.send(&plain(b"early")).unwrap();
    std::thread::sleep(SILENCE);
    queue.arm_interrupt().unwrap();
    assert_eq!(wait(queue.interrupt_fd().unwrap(), 5000), 1);
    queue.disarm_interrupt().unwrap();
    assert_eq!(queue.receive(&mut burst), 1);
}

#[test]
fn hits_go_where_the_rule_says_and_are_counted() {
    let mut rig = Rig::new("net_eswitch1");
    let to_vf1 = [Action::Count, Action::RepresentedPort(rig.dev("pf0vf1"))];
    let rule = rig.rule("pf0vf0", &to_udp([10, 0, 0, 2], 53), &to_vf1).unwrap();
    let frame = plain(b"question");
    for _ in 0..100 {
        rig.wire("pf0vf0").send(&frame).unwrap();
    }
    for _ in 0..100 {
        assert_eq!(rig.wire("pf0vf1").receive(PATIENCE).as_ref(), Some(&frame));
    }
    let count = rule.query_count().unwrap();
    assert_eq!((count.packets, count.bytes), (Some(100), Some(100 * frame.len() as u64)));

    // Another port, another destination, another protocol: misses, each on its own port.
    rig.wire("pf0vf1").send(&frame).unwrap();
    assert_eq!(rig.missed("pf0vf1", PATIENCE), Some(frame.clone()));
    let other = ethernet(&[], 0x0800, &udp4([10, 0, 0, 1], [10, 0, 0, 3], (1000, 53), b"x"));
    rig.wire("pf0vf0").send(&other).unwrap();
    assert_eq!(rig.missed("pf0vf0", PATIENCE), Some(other));
    assert_eq!(rule.query_count().unwrap().packets, Some(100));

    // After the destroy has returned, no packet meets the rule.
    rule.destroy().unwrap();
    rig.wire("pf0vf0").send(&frame).unwrap();
    assert_eq!(rig.missed("pf0vf0", PATIENCE), Some(frame.clone()));
    assert_eq!(rig.wire("pf0vf1").receive(Duration::ZERO), None);

    tags_are_pushed_changed_and_popped(&rig);
    addresses_and_ports_are_rewritten_with_their_checksums(&rig);
    lower_numbers_come_first_and_drops_drop(&rig);
    a_tagged_match_sees_the_tag(&mut rig);
    crate::tunnels::frames_go_into_tunnels_and_come_out(&mut rig);
    assert_eq!(rig.pool.in_use(), 0);
}

fn tags_are_pushed_changed_and_popped(rig: &Rig) {
    let (out, back) = (rig.dev("p0"), rig.dev("pf0vf0"));
    let push = [
        Action::OfPushVlan { ether_type: 0x8100 },
        Action::OfSetVlanVid(100),
        Action::OfSetVlanPcp(5),
        Action::RepresentedPort(out),
    ];
    let eth = [Item::Eth(Masked::any())];
    let _push = rig.rule("pf0vf0", &eth, &push).unwrap();
    rig.wire("pf0vf0").send(&plain(b"tag me")).unwrap();
    let tagged = rig.wire("p0").receive(PATIENCE).unwrap();
    assert_eq!(tagged, ethernet(&[5 << 13 | 100], 0x0800, &plain(b"tag me")[14..]));

    let tag =
        Masked::new(Vlan { tci: 100, ..Default::default() }, Vlan { tci: 0x0fff, ..Default::default() });
    let items = [Item::Eth(Masked::any()), Item::Vlan(tag)];
    let _pop = rig.rule("p0", &items, &[Action::OfPopVlan, Action::RepresentedPort(back)]).unwrap();
    rig.wire("p0").send(&tagged).unwrap();
    assert_eq!(rig.wire("pf0vf0").receive(PATIENCE), Some(plain(b"tag me")));
}

fn addresses_and_ports_are_rewritten_with_their_checksums(rig: &Rig) {
    let actions = [
        Action::SetMacSrc([2, 9, 9, 9, 9, 9]),
        Action::SetIpv4Src([192, 0, 2, 1]),
        Action::SetIpv4Dst([192, 0, 2, 2]),
        Action::SetTpSrc(40000),
        Action::SetTpDst(8053),
        Action::DecTtl,
        Action::RepresentedPort(rig.dev("p0")),
    ];
    let _nat = rig.rule("pf0vf0", &to_udp([10, 0, 0, 2], 53), &actions).unwrap();
    let sent = plain(b"an odd payload!");
    assert!(checksums_hold(&sent));
    rig.wire("pf0vf0").send(&sent).unwrap();
    let got = rig.wire("p0").receive(PATIENCE).unwrap();
    assert!(checksums_hold(&got));
    assert_eq!(got[6..12], [2, 9, 9, 9, 9, 9]);
    assert_eq!(got[22], 63);
    assert_eq!(got[26..34], [192, 0, 2, 1, 192, 0, 2, 2]);
    assert_eq!(got[34..38], [0x9c, 0x40, 0x1f, 0x75]);
    assert_eq!(got[42..], sent[42..]);
}

fn lower_numbers_come_first_and_drops_drop(rig: &Rig) {
    let from = [Item::RepresentedPort(rig.dev("pf0vf0")), Item::Eth(Masked::any())];
    let attr = |priority| dpdk::flow::Attr { priority, ..dpdk::flow::Attr::TRANSFER };
    let port = rig.port("pf0vf0");
    let forward = [Action::Count, Action::RepresentedPort(rig.dev("p0"))];
    let all = port.create_flow(&attr(7), &from, &forward).unwrap();
    let mac =
        Masked::new(Eth { src: MAC_A, ..Default::default() }, Eth { src: [0xff; 6], ..Default::default() });
    let some = [Item::RepresentedPort(rig.dev("pf0vf0")), Item::Eth(mac)];
    let drops = port.create_flow(&attr(3), &some, &[Action::Count, Action::Drop]).unwrap();
    rig.wire("pf0vf0").send(&plain(b"dropped")).unwrap();
    let mut other = plain(b"forwarded");
    other[11] = 0xc;
    rig.wire("pf0vf0").send(&other).unwrap();
    assert_eq!(rig.wire("p0").receive(PATIENCE), Some(other));
    let packets = |rule: &dpdk::FlowRule| rule.query_count().unwrap().packets;
    assert_eq!((packets(&all), packets(&drops)), (Some(1), Some(1)));
}

fn a_tagged_match_sees_the_tag(rig: &mut Rig) {
    let untagged = Masked::new(Eth::default(), Eth { has_vlan: true, ..Default::default() });
    let out = [Action::RepresentedPort(rig.dev("p0"))];
    let _rule = rig.rule("pf0vf0", &[Item::Eth(untagged)], &out).unwrap();
    rig.wire("pf0vf0").send(&plain(b"plain")).unwrap();
    assert_eq!(rig.wire("p0").receive(PATIENCE), Some(plain(b"plain")));
    let tagged = ethernet(&[1], 0x0800, &plain(b"tagged")[14..]);
    rig.wire("pf0vf0").send(&tagged).unwrap();
    assert_eq!(rig.missed("pf0vf0", PATIENCE), Some(tagged));
}
