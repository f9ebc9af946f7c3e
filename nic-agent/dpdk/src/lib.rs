//! Safe handles over DPDK: EAL, mempools, mbufs, ports and their queues,
//! `rte_flow` rules, and threads that EAL knows; and a tap device, for what goes to
//! the kernel instead.
//!
//! It knows DPDK's public API through `dpdk-sys`. It knows no packet format, no
//! policy and no card: which rules to make is `nic-offload`'s business, and a
//! software E-Switch looks like any other driver from here.
//!
//! # Threads and ownership
//!
//! * [`Eal`] starts on a thread of its own, which stays EAL's only lcore. No
//!   thread of the program changes its affinity unless it asks to
//!   ([`lcore::pin_current_thread`]). A worker that moves many packets calls
//!   [`Eal::register_thread`] first, to have its own mempool caches; every call
//!   works without, only slower.
//! * Whatever needs EAL holds a handle to it, and EAL is cleaned up with the
//!   last. The one exception is [`Mbuf`], which must stay a single pointer: while
//!   any is out, EAL is left as it is, and so are the mempools.
//! * [`RxQueue`] and [`TxQueue`] are `Send` but not `Sync`, and their calls take
//!   `&mut self`: a queue has one user at a time, as DPDK demands. They exist only
//!   while their port runs; a port cannot be stopped while one of them is held.
//! * [`Mbuf`] is owned: [`TxQueue::send`] moves out of a [`Burst`] what the port
//!   took and leaves the unsent tail, so that nothing is freed twice. It may go to
//!   another thread, but two threads cannot look at one.
//! * [`Port`] is a shared handle (`Clone`, `Send`, `Sync`). Control calls of all
//!   ports wait for each other; flow calls do not, for DPDK itself orders them where
//!   a driver cannot take several at once. Starting, stopping and flushing a port
//!   wait for its flow calls.
//! * [`FlowRule`] is not `Clone`, and [`FlowRule::destroy`] consumes it. After a
//!   flush or a stop of its port it is known to be stale, and touches nothing.
//!
//! # Leaving
//!
//! Dropping the last of a port's handles (the [`Port`]s, its queues, its rules)
//! stops and closes the port. Ports that depend on each other, such as
//! representors and the transfer proxy of their switch, should be dropped in that
//! order: the proxy last.
//!
//! # Example
//!
//! ```no_run
//! use dpdk::flow::{Action, Attr, Item};
//! use dpdk::{Burst, Eal, EalArgs, Mempool, MempoolConfig, Port, PortConfig, ethdev};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let eal = Eal::init(&EalArgs::without_hardware("example", "example").vdev("net_null0"))?;
//! let pool = Mempool::create(&eal, &MempoolConfig::new("packets", 4095))?;
//! let info = ethdev::discover(&eal)?.remove(0);
//! let port = Port::open(&eal, info.id)?;
//! let mut queues = port.start(&PortConfig::single(&pool))?;
//!
//! let mut burst = Burst::new();
//! queues.rx[0].receive(&mut burst);
//! queues.tx[0].send(&mut burst);
//! burst.clear(); // what was not sent
//!
//! let pattern = [Item::RepresentedPort(info.id)];
//! match port.create_flow(&Attr::TRANSFER, &pattern, &[Action::Count, Action::Drop]) {
//!     Ok(rule) => println!("{:?}", rule.query_count()?),
//!     Err(refused) => println!("{refused}"),
//! }
//! # Ok(())
//! # }
//! ```

pub mod burst;
pub mod eal;
pub mod errno;
pub mod ethdev;
pub mod flow;
pub mod lcore;
pub mod mbuf;
pub mod mempool;
pub mod offload;
pub mod tap;

pub use burst::{BURST, Burst};
pub use eal::{Eal, EalArgs, EalError};
pub use errno::Errno;
pub use ethdev::{DevId, Port, PortConfig, Queues, RxQueue, TxQueue};
pub use flow::{FlowError, FlowRule};
pub use lcore::RegisteredThread;
pub use mbuf::{Mbuf, MbufError};
pub use mempool::{HEADROOM, Mempool, MempoolConfig, MempoolError};
