use std::thread;

use dpdk::{BURST, Burst, Mbuf, MbufError, MempoolConfig};
use proptest::prelude::*;

use super::{pool, shared_eal};

/// A packet with these bytes.
pub(crate) fn packet(pool: &dpdk::Mempool, bytes: &[u8]) -> Mbuf {
    let mut mbuf = pool.alloc().expect("the pool has room");
    mbuf.set_data(bytes).expect("the bytes fit");
    mbuf
}

#[test]
fn an_exhausted_pool_says_so_and_recovers() {
    let pool = pool("exhausted", 63);
    let mut held: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((held.len(), pool.in_use(), pool.available()), (63, 63, 0));
    assert!(pool.alloc().is_none());

    let mut burst = Burst::new();
    assert!(!pool.alloc_burst(&mut burst, 1), "nothing is left");
    held.truncate(60);
    assert!(!pool.alloc_burst(&mut burst, 4), "three are left: all or none");
    assert_eq!((burst.len(), pool.in_use()), (0, 60));
    assert!(pool.alloc_burst(&mut burst, 3));
    assert_eq!((burst.len(), pool.in_use()), (3, 63));

    drop(held);
    burst.clear();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_burst_refuses_more_than_it_holds() {
    let pool = pool("burst-full", 127);
    let mut burst = Burst::new();
    assert!(!pool.alloc_burst(&mut burst, BURST + 1));
    assert!(pool.alloc_burst(&mut burst, BURST));
    assert!(burst.is_full());
    let refused = burst.push(pool.alloc().expect("the pool has room"));
    assert!(refused.is_err(), "the packet comes back");
    drop(refused);
    assert_eq!(pool.in_use(), 32);
    drop(burst);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_pool_name_is_taken_once() {
    let _first = pool("taken", 15);
    let again = dpdk::Mempool::create(&shared_eal(), &MempoolConfig::new("taken", 15));
    let error = again.expect_err("the name is taken");
    assert!(error.to_string().contains("EEXIST"), "{error}");
    let error = dpdk::Mempool::create(&shared_eal(), &MempoolConfig::new("nul\0", 15))
        .expect_err("a C string holds no zero byte");
    assert!(matches!(error, dpdk::MempoolError::NulInName(_)));
}

#[test]
fn a_packet_grows_and_shrinks_at_both_ends() {
    let pool = pool("ends", 15);
    let mut mbuf = packet(&pool, b"payload");
    let headroom = mbuf.headroom();

    mbuf.prepend(4).expect("headroom is there").copy_from_slice(b"head");
    mbuf.append(4).expect("tailroom is there").copy_from_slice(b"tail");
    assert_eq!(mbuf.data(), Ok(&b"headpayloadtail"[..]));
    assert_eq!((mbuf.len(), mbuf.headroom()), (15, headroom - 4));

    mbuf.adj(4).expect("the packet is longer");
    mbuf.trim(4).expect("the packet is longer");
    assert_eq!(mbuf.data(), Ok(&b"payload"[..]));

    assert_eq!(mbuf.adj(8), Err(MbufError::TooShort { wanted: 8, len: 7 }));
    assert_eq!(mbuf.trim(8), Err(MbufError::TooShort { wanted: 8, len: 7 }));
    let room = mbuf.headroom();
    assert_eq!(mbuf.prepend(room + 1).err(), Some(MbufError::NoRoom { wanted: room + 1, room }));
    let room = mbuf.tailroom();
    assert_eq!(mbuf.append(room + 1).err(), Some(MbufError::NoRoom { wanted: room + 1, room }));
    assert_eq!(mbuf.append(70_000).err(), Some(MbufError::NoRoom { wanted: 70_000, room }));
    assert_eq!(mbuf.data(), Ok(&b"payload"[..]), "what was refused changed nothing");
}

#[test]
fn a_packet_is_made_of_bytes_and_has_room_for_a_tunnel_before_it() {
    // Ethernet, a tag, IPv6, UDP and VXLAN, and a tag on the frame inside.
    const OUTER: usize = 14 + 4 + 40 + 8 + 8 + 4;
    let pool = pool("made", 2);
    let made = pool.packet(&[0xab; 1500]).expect("it fits");
    assert_eq!((made.data(), made.headroom()), (Ok(&[0xab; 1500][..]), dpdk::HEADROOM));
    let mut copy = made.copy(&pool).expect("one is left");
    assert!(pool.packet(b"x").is_none(), "none is left");
    drop(made);
    for packet in [&mut copy, &mut pool.packet(b"frame").expect("one is back")] {
        let len = packet.len();
        packet.prepend(OUTER).expect("headroom is there").fill(0xcd);
        assert_eq!(packet.len(), len + OUTER);
        assert!(packet.first_segment()[..OUTER].iter().all(|&byte| byte == 0xcd));
    }
    let room = usize::from(pool.data_room());
    assert!(pool.packet(&vec![0; room + 1]).is_none(), "no mbuf is that large");
    assert_eq!(pool.packet(&vec![0; room]).expect("one is free").len(), room);
    drop(copy);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn bytes_of_an_earlier_packet_never_show() {
    let pool = pool("stale", 1);
    drop(packet(&pool, &[0xaa; 512]));
    let mut mbuf = pool.alloc().expect("the one mbuf is back");
    assert!(mbuf.append(512).expect("it fits").iter().all(|&byte| byte == 0));
    mbuf.data_mut().expect("one segment").fill(0xbb);
    mbuf.adj(64).expect("it is longer");
    assert!(mbuf.prepend(64).expect("it fits").iter().all(|&byte| byte == 0));
}

#[test]
fn a_segmented_packet_is_refused_read_across_and_joined() {
    let pool = pool("segments", 15);
    let mut mbuf = packet(&pool, b"first");
    mbuf.chain(packet(&pool, b"second")).expect("two segments are allowed");
    mbuf.chain(packet(&pool, b"third")).expect("three are too");

    assert_eq!((mbuf.len(), mbuf.segments()), (16, 3));
    assert_eq!(mbuf.data(), Err(MbufError::Segmented(3)));
    assert_eq!(mbuf.data_mut().err(), Some(MbufError::Segmented(3)));
    assert_eq!(mbuf.first_segment(), b"first");
    assert_eq!(mbuf.tailroom(), 0);
    assert_eq!(mbuf.append(1).err(), Some(MbufError::Segmented(3)));

    let mut across = [0; 9];
    assert!(mbuf.copy_to(3, &mut across));
    assert_eq!(&across, b"stsecondt");
    assert!(!mbuf.copy_to(8, &mut across), "one byte too far");
    assert!(!mbuf.copy_to(usize::MAX, &mut across));

    assert_eq!(mbuf.linearize(), Ok(()));
    assert_eq!(mbuf.data(), Ok(&b"firstsecondthird"[..]));
    assert_eq!(pool.in_use(), 1, "the other segments went back");
    drop(mbuf);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_packet_too_long_for_one_segment_stays_segmented() {
    let pool = pool("too-long", 15);
    let mut mbuf = packet(&pool, &[1; 2000]);
    mbuf.chain(packet(&pool, &[2; 2000])).expect("two segments are allowed");
    assert_eq!(mbuf.linearize(), Err(MbufError::NoRoom { wanted: 2000, room: 48 }));
    assert_eq!((mbuf.len(), mbuf.segments()), (4000, 2));
    drop(mbuf);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_copy_has_bytes_of_its_own() {
    let (from, to) = (pool("copy-from", 3), pool("copy-to", 1));
    let mut original = packet(&from, b"original");
    let copy = original.copy(&to).expect("the pool has room");
    assert!(original.copy(&to).is_none(), "the pool is exhausted");
    original.data_mut().expect("one segment").fill(b'x');
    assert_eq!(copy.data(), Ok(&b"original"[..]));
    drop((original, copy));
    assert_eq!((from.in_use(), to.in_use()), (0, 0));
}

#[test]
fn packets_may_be_freed_by_another_thread() {
    let pool = pool("threads", 127);
    let mut burst = Burst::new();
    assert!(pool.alloc_burst(&mut burst, 32));
    thread::spawn(move || drop(burst)).join().expect("freeing does not panic");
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_packet_made_here_has_no_receive_metadata_and_takes_a_tag_to_send() {
    let pool = pool("meta", 3);
    let mut mbuf = packet(&pool, &[0; 60]);
    assert_eq!(mbuf.rx_meta(), dpdk::offload::RxMeta::default());
    let wanted = dpdk::offload::TxMeta { insert_vlan: Some(0x2005), ..Default::default() };
    mbuf.set_tx_meta(&wanted);
    mbuf.clear_rx_meta();
    assert_eq!(mbuf.rx_meta(), dpdk::offload::RxMeta::default());
}

/// What can be done to a burst.
#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    Pop,
    SwapRemove(usize),
    DrainSome(usize),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => any::<u8>().prop_map(Step::Push),
        3 => Just(Step::Pop),
        3 => (0..BURST + 2).prop_map(Step::SwapRemove),
        1 => (0..BURST + 2).prop_map(Step::DrainSome),
        1 => Just(Step::Clear),
    ]
}

fn byte(mbuf: &Mbuf) -> u8 {
    mbuf.first_segment().first().copied().expect("every packet here has one byte")
}

/// One step on both; true if they agree on what came out.
fn apply(step: &Step, pool: &dpdk::Mempool, burst: &mut Burst, model: &mut Vec<u8>) -> bool {
    match *step {
        Step::Push(value) => {
            let fits = burst.push(packet(pool, &[value])).is_ok();
            if model.len() < BURST {
                model.push(value);
                fits
            } else {
                !fits
            }
        }
        Step::Pop => burst.pop().map(|mbuf| byte(&mbuf)) == model.pop(),
        Step::SwapRemove(index) => {
            let expected = (index < model.len()).then(|| model.swap_remove(index));
            burst.swap_remove(index).map(|mbuf| byte(&mbuf)) == expected
        }
        Step::DrainSome(count) => {
            let taken: Vec<u8> = burst.drain().take(count).map(|mbuf| byte(&mbuf)).collect();
            let expected: Vec<u8> = model.drain(..).take(count).collect();
            taken == expected
        }
        Step::Clear => {
            burst.clear();
            model.clear();
            true
        }
    }
}

#[test]
fn a_burst_behaves_like_a_bounded_vector_and_leaks_nothing() {
    let pool = pool("burst-model", 63);
    proptest!(ProptestConfig::with_cases(400), |(steps in prop::collection::vec(step(), 0..120))| {
        let (mut burst, mut model) = (Burst::new(), Vec::new());
        for step in &steps {
            prop_assert!(apply(step, &pool, &mut burst, &mut model), "{step:?}");
            let bytes: Vec<u8> = burst.iter().map(byte).collect();
            prop_assert_eq!(&bytes, &model);
            prop_assert_eq!(pool.in_use() as usize, model.len());
        }
        drop(burst);
        prop_assert_eq!(pool.in_use(), 0);
    });
}
