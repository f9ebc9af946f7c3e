use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use conformance::{Lab, Namespace, Testpmd};

use crate::number;

const PATIENCE: Duration = Duration::from_secs(10);

fn testpmd(lab: &Lab) -> Testpmd {
    let (one, two) = (lab.host(0).far_end(), lab.host(1).far_end());
    let device =
        format!("net_eswitch0,vfs=1,representor=0,backing=p0:af_packet:{one}+pf0vf0:af_packet:{two}");
    Testpmd::start(Some(lab.switch()), &[&device], &[]).unwrap()
}

/// Sends datagrams from one host to another and returns how many came, each whole. No more are under
/// way than the receiver's socket holds: its buffer is not what is tested.
pub(crate) fn datagrams(from: &Namespace, to: &Namespace, address: &'static str, count: u32) -> u32 {
    const UNDER_WAY: u32 = 64;
    let socket = to.enter(move || UdpSocket::bind((address, 5000)).unwrap()).unwrap().join().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let arrived = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&arrived);
    let sender = from.enter(move || {
        let socket = UdpSocket::bind(("0.0.0.0", 4000)).unwrap();
        socket.connect((address, 5000)).unwrap();
        let end = Instant::now() + PATIENCE;
        for number in 0..count {
            while number - seen.load(Ordering::Relaxed) >= UNDER_WAY && Instant::now() < end {
                std::thread::sleep(Duration::from_micros(100));
            }
            socket.send(&[&number.to_be_bytes()[..], &[number as u8; 200]].concat()).unwrap();
        }
    });
    let mut buffer = [0; 2000];
    let mut came = 0;
    while came < count {
        let Ok(length) = socket.recv(&mut buffer) else { break };
        let number = u32::from_be_bytes(buffer[..4].try_into().unwrap());
        assert!(length == 204 && buffer[4..length].iter().all(|byte| *byte == number as u8));
        came += 1;
        arrived.store(came, Ordering::Relaxed);
    }
    sender.unwrap().join().unwrap();
    came
}

/// Sends bytes over TCP and returns what came.
pub(crate) fn stream(from: &Namespace, to: &Namespace, address: &'static str, bytes: usize) -> usize {
    let listener = to.enter(move || TcpListener::bind((address, 5001)).unwrap()).unwrap().join().unwrap();
    let sender = from
        .enter(move || {
            let target = std::net::SocketAddr::new(address.parse().unwrap(), 5001);
            let mut stream = TcpStream::connect_timeout(&target, PATIENCE).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            let pattern: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
            stream.write_all(&pattern).unwrap();
        })
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    sender.join().unwrap();
    assert!(got.iter().enumerate().all(|(n, byte)| *byte == (n % 251) as u8));
    got.len()
}

pub(crate) fn hits(testpmd: &mut Testpmd, rule: u32) -> u64 {
    number(&testpmd.run(&format!("flow query 0 {rule} count")).unwrap(), "hits:")
}

#[test]
fn packets_over_veth_are_forwarded_by_rules_and_each_is_counted() {
    let lab = Lab::new(2).unwrap();
    let (one, two) = (lab.host(0), lab.host(1));
    let mut testpmd = testpmd(&lab);
    testpmd.run("start").unwrap();
    let rules = [
        // 0 and 1: all else, both ways.
        "priority 9 transfer pattern represented_port ethdev_port_id is 0 / end actions count / represented_port ethdev_port_id 1 / end",
        "priority 9 transfer pattern represented_port ethdev_port_id is 1 / end actions count / represented_port ethdev_port_id 0 / end",
        // 2: what the datagrams of the first host are.
        "transfer pattern represented_port ethdev_port_id is 0 / eth / ipv4 dst is 10.77.0.2 / udp dst is 5000 / end actions count / represented_port ethdev_port_id 1 / end",
        // 3: a stream, which the sender leaves to its card to cut.
        "transfer pattern represented_port ethdev_port_id is 0 / eth / ipv4 / tcp dst is 5001 / end actions count / represented_port ethdev_port_id 1 / end",
    ];
    for rule in rules {
        let said = testpmd.run(&format!("flow create 0 {rule}")).unwrap();
        assert!(said.contains("created"), "{rule}: {said}");
    }
    assert_eq!(datagrams(one, two, "10.77.0.2", 5000), 5000);
    assert_eq!(hits(&mut testpmd, 2), 5000);

    const STREAM: usize = 8 << 20;
    assert_eq!(stream(one, two, "10.77.0.2", STREAM), STREAM);
    let packets = hits(&mut testpmd, 3);
    assert!(packets as usize > STREAM / 1460, "packets of the wire's size are counted: {packets}");

    // Another destination for the same packets, and then a drop.
    testpmd.run("flow destroy 0 rule 2").unwrap();
    let said = testpmd.run("flow create 0 transfer pattern represented_port ethdev_port_id is 0 / eth / ipv4 / udp dst is 5000 / end actions count / drop / end").unwrap();
    assert!(said.contains("Flow rule #4 created"), "{said}");
    let before = hits(&mut testpmd, 4);
    one.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"dropped", "10.77.0.2:5000").unwrap())
        .unwrap()
        .join()
        .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(hits(&mut testpmd, 4) - before, 1);
    let stats = testpmd.run("show port xstats 0").unwrap();
    assert_eq!(number(&stats, "eswitch_drop_rule:"), 1, "{stats}");
    for counter in [
        "wire_drop_not_offloadable:",
        "wire_drop_oversized:",
        "wire_receive_errors:",
        "wire_send_refused:",
        "wire_send_oversized:",
    ] {
        assert_eq!(number(&stats, counter), 0, "{stats}");
    }
    testpmd.quit().unwrap();
}

#[test]
fn packets_that_miss_pass_through_the_application_both_ways() {
    let lab = Lab::new(2).unwrap();
    let mut testpmd = testpmd(&lab);
    // io forwarding sends what comes on one port out of the other.
    testpmd.run("start").unwrap();
    assert_eq!(datagrams(lab.host(0), lab.host(1), "10.77.0.2", 1000), 1000);
    assert_eq!(datagrams(lab.host(1), lab.host(0), "10.77.0.1", 1000), 1000);
    const STREAM: usize = 1 << 20;
    assert_eq!(stream(lab.host(0), lab.host(1), "10.77.0.2", STREAM), STREAM);
    testpmd.run("stop").unwrap();
    for port in [0, 1] {
        let stats = testpmd.run(&format!("show port xstats {port}")).unwrap();
        assert!(number(&stats, "rx_good_packets:") >= 1000, "{stats}");
        assert!(number(&stats, "tx_good_packets:") >= 1000, "{stats}");
        assert_eq!(number(&stats, "eswitch_hit_packets:"), 0, "{stats}");
        assert_eq!(number(&stats, "tx_errors:"), 0, "{stats}");
    }
    testpmd.quit().unwrap();
}
