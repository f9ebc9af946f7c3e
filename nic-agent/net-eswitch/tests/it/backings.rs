//! What stands behind a port, with EAL around it. Each body has a process of its own, for it needs
//! device arguments that are known only then.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use dpdk::ethdev::discover;
use dpdk::flow::{Action, Attr, Eth, Item, Masked};
use dpdk::{Burst, Mempool, MempoolConfig, Port, PortConfig};
use nic_flow::PortId;

use crate::lifetime::in_a_process_of_its_own;
use crate::packets::{MAC_B, plain};
use crate::tunnels::{ENCAP, vxlan};
use crate::{PATIENCE, Rig, SILENCE, start};

#[test]
fn frames_come_out_of_files_of_the_kernel_and_of_other_processes() {
    in_a_process_of_its_own("backings::body_of_capture_files");
    in_a_process_of_its_own("backings::body_of_tap_devices");
    in_a_process_of_its_own("backings::body_of_memif");
    in_a_process_of_its_own("backings::body_of_dpdk_ports");
}

/// A pcap file with these frames, byte by byte.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let mut file = words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, 1]);
    for frame in frames {
        let length = frame.len() as u32;
        file.extend(words(&[1, 2, length, length]));
        file.extend(frame);
    }
    file
}

/// The frames of a file that the driver wrote.
fn frames(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut frames) = (file.get(24..).unwrap_or_default(), Vec::new());
    while let Some(header) = rest.get(..16) {
        let length = u32::from_ne_bytes(header[8..12].try_into().unwrap()) as usize;
        frames.push(rest[16..16 + length].to_vec());
        rest = &rest[16 + length..];
    }
    frames
}

#[test]
#[ignore = "starts EAL: run by frames_come_out_of_files_of_the_kernel_and_of_other_processes in a process of its own"]
fn body_of_capture_files() {
    let directory: PathBuf = std::env::temp_dir().join(format!("nes-it-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let [input, output] = ["in.pcap", "out.pcap"].map(|name| directory.join(name));
    let mut missed = plain(b"no rule");
    missed[5] = 0xc;
    let hits: Vec<Vec<u8>> = (0..100u8).map(|n| plain(&[n; 50])).collect();
    std::fs::write(&input, pcap(&[&hits[..], std::slice::from_ref(&missed)].concat())).unwrap();
    let device = format!(
        "net_eswitch0,vfs=1,representor=0,backing=p0:pcap::{}+pf0vf0:pcap:{}:",
        output.display(),
        input.display()
    );
    let eal = start("nes-pcap", &[&device]).unwrap();
    let pool = Mempool::create(&eal, &MempoolConfig::new("pcap".to_owned(), 1023)).unwrap();
    let infos = discover(&eal).unwrap();
    let open = |name: &str| {
        let is = |info: &&dpdk::ethdev::PortInfo| {
            info.switch.as_ref().is_some_and(|switch| PortId::from_bits(switch.port) == crate::id(name))
        };
        Port::open(&eal, infos.iter().find(is).expect("the port is there").id).unwrap()
    };
    let (uplink, vf) = (open("p0"), open("pf0vf0"));
    let _queues = uplink.start(&PortConfig::single(&pool)).unwrap();
    let mac =
        Masked::new(Eth { dst: MAC_B, ..Default::default() }, Eth { dst: [0xff; 6], ..Default::default() });
    let pattern = [Item::RepresentedPort(vf.id()), Item::Eth(mac)];
    let actions = [Action::Count, Action::VxlanEncap(ENCAP), Action::RepresentedPort(uplink.id())];
    let rule = uplink.create_flow(&Attr::TRANSFER, &pattern, &actions).unwrap();
    std::thread::sleep(SILENCE);
    assert_eq!(rule.query_count().unwrap().packets, Some(0), "the file waits for its port's start");

    let mut queues = vf.start(&PortConfig::single(&pool)).unwrap();
    let end = Instant::now() + PATIENCE;
    let mut burst = Burst::new();
    while queues.rx[0].receive(&mut burst) == 0 {
        assert!(Instant::now() < end, "the last frame is missed");
    }
    assert_eq!(burst.pop().unwrap().data().unwrap(), missed);
    assert_eq!(rule.query_count().unwrap().packets, Some(100));
    let written = frames(&std::fs::read(&output).unwrap());
    let expected: Vec<Vec<u8>> = hits
        .iter()
        .zip(&written)
        .map(|(frame, packet)| vxlan(&ENCAP, u16::from_be_bytes([packet[34], packet[35]]), frame))
        .collect();
    assert_eq!(written, expected);
    assert_eq!(written.len(), 100);
    drop((burst, rule));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
#[ignore = "needs root: run by frames_come_out_of_files_of_the_kernel_and_of_other_processes in a process of its own"]
fn body_of_tap_devices() {
    // The device is opened by the thread that starts EAL, in the namespace of that thread.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace (needs root)");
    let ip = |arguments: &str| {
        assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success(), "ip {arguments}");
    };
    ip("link add wide mtu 1600 type veth peer name other");
    let device =
        "net_eswitch0,vfs=2,representor=[0-1],backing=p0:tap:nes0+pf0vf0:inject+pf0vf1:af_packet:wide";
    let rig = Rig::with(start("nes-tap", &[device]).unwrap(), "net_eswitch0", 1023, |config| config);
    let mtus = ["p0", "pf0vf0", "pf0vf1"].map(|name| rig.port(name).mtu().unwrap());
    assert_eq!(mtus, [1500, 1500, 1600], "those of their interfaces, also after the start");
    ip("link set nes0 up");
    ip("addr add 192.0.2.1/24 dev nes0");
    let end = Instant::now() + PATIENCE;
    while !rig.port("p0").link().unwrap().up {
        assert!(Instant::now() < end, "the link comes up");
    }
    let any = [Item::Eth(Masked::any())];
    let _out = rig.rule("pf0vf0", &any, &[Action::RepresentedPort(rig.dev("p0"))]).unwrap();
    let _back = rig.rule("p0", &any, &[Action::RepresentedPort(rig.dev("pf0vf0"))]).unwrap();
    let own = [2, 7, 7, 7, 7, 7];
    let request = [
        &[0xff; 6][..],
        &own,
        &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1],
        &own,
        &[192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1],
    ];
    rig.wire("pf0vf0").send(&request.concat()).unwrap();
    // The kernel sends of its own, too.
    let answer = std::iter::from_fn(|| rig.wire("pf0vf0").receive(PATIENCE)).find(|frame| frame[..6] == own);
    assert_eq!(answer.expect("an ARP reply")[20..22], [0, 2]);

    // A device that is taken away leaves a port that is down, and a switch that sleeps.
    ip("link delete nes0");
    assert!(!rig.port("p0").link().unwrap().up);
    // What the kernel sent of its own before that.
    while rig.wire("pf0vf0").receive(SILENCE).is_some() {}
    rig.wire("pf0vf0").send(&request.concat()).unwrap();
    assert_eq!(rig.wire("pf0vf0").receive(SILENCE), None);
    let before = cpu_time();
    std::thread::sleep(SILENCE * 4);
    assert!(cpu_time() - before < 10, "the switch's thread spins");
}

/// What this process has used, in ticks of 10 ms.
fn cpu_time() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
#[ignore = "starts EAL: run by frames_come_out_of_files_of_the_kernel_and_of_other_processes in a process of its own"]
fn body_of_memif() {
    let socket = std::env::temp_dir().join(format!("nes-memif-{}.sock", std::process::id()));
    // DPDK's own client, with buffers that are shorter than most frames.
    let devices = [
        format!("net_eswitch0,vfs=1,representor=0,backing=p0:memif:{}+pf0vf0:inject", socket.display()),
        format!("net_memif0,role=client,socket={},socket-abstract=no,bsize=256", socket.display()),
    ];
    let eal = start("nes-memif", &[&devices[0], &devices[1]]).unwrap();
    let client = discover(&eal).unwrap().into_iter().find(|info| info.switch.is_none()).unwrap();
    let client = Port::open(&eal, client.id).unwrap();
    let rig = Rig::with(eal, "net_eswitch0", 1023, |config| config);
    let pool = Mempool::create(&rig.eal, &MempoolConfig::new("memif".to_owned(), 1023)).unwrap();
    let any = [Item::Eth(Masked::any())];
    let out = rig.rule("pf0vf0", &any, &[Action::RepresentedPort(rig.dev("p0"))]).unwrap();
    let back = rig.rule("p0", &any, &[Action::RepresentedPort(rig.dev("pf0vf0"))]).unwrap();
    // Each end hears of the other in a thread of its own.
    let link_becomes = |up: bool| {
        let end = Instant::now() + PATIENCE;
        while [rig.port("p0"), &client].iter().any(|port| port.link().unwrap().up != up) {
            assert!(Instant::now() < end, "the link is up: {}", !up);
            std::thread::yield_now();
        }
    };
    link_becomes(false);
    rig.wire("pf0vf0").send(&plain(b"to nobody")).unwrap();
    // A client may come again.
    for round in 0..2u8 {
        let mut queues = client.start(&PortConfig::single(&pool)).unwrap();
        link_becomes(true);
        // DPDK's client gives its buffers away when it first looks for frames.
        assert_eq!(queues.rx[0].receive(&mut Burst::new()), 0);
        for number in 0..200u8 {
            let frame = plain(&vec![number ^ round; 6 * usize::from(number)]);
            let mut mbuf = pool.alloc().unwrap();
            mbuf.set_data(&frame).unwrap();
            let mut burst = Burst::new();
            burst.push(mbuf).unwrap();
            assert_eq!(queues.tx[0].send(&mut burst), 1, "frame {number}");
            assert_eq!(rig.wire("pf0vf0").receive(PATIENCE).as_ref(), Some(&frame), "frame {number}");
            rig.wire("pf0vf0").send(&frame).unwrap();
            let end = Instant::now() + PATIENCE;
            while queues.rx[0].receive(&mut burst) == 0 {
                assert!(Instant::now() < end, "frame {number} comes back");
            }
            assert_eq!(burst.pop().unwrap().data().unwrap(), frame);
        }
        drop(queues);
        client.stop().unwrap();
        link_becomes(false);
    }
    drop((out, back, client, rig));
    assert!(!socket.exists(), "the socket goes away with the device");
}

#[test]
#[ignore = "starts EAL: run by frames_come_out_of_files_of_the_kernel_and_of_other_processes in a process of its own"]
fn body_of_dpdk_ports() {
    // What is sent to a port of net_ring comes back by it.
    let device = "net_eswitch0,vfs=1,representor=0,backing=p0:ethdev:net_ring0+pf0vf0:inject";
    let eal = start("nes-ethdev", &["net_ring0", device]).unwrap();
    let rig = Rig::with(eal, "net_eswitch0", 1023, |config| config);
    let any = [Item::Eth(Masked::any())];
    let out = rig.rule("pf0vf0", &any, &[Action::RepresentedPort(rig.dev("p0"))]).unwrap();
    let back = rig.rule("p0", &any, &[Action::RepresentedPort(rig.dev("pf0vf0"))]).unwrap();
    for number in 0..200u8 {
        let frame = plain(&vec![number; 6 * usize::from(number)]);
        rig.wire("pf0vf0").send(&frame).unwrap();
        assert_eq!(rig.wire("pf0vf0").receive(PATIENCE).as_ref(), Some(&frame), "frame {number}");
    }
    drop((out, back, rig));
}
