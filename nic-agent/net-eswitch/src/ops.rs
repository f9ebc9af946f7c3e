//! What the C side calls: pointers in, safe code behind. A panic in here aborts the process, for
//! there is no caller that could take it (a function of C's calling convention cannot unwind).

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;

use dpdk_sys::{
    rte_flow, rte_flow_action, rte_flow_attr, rte_flow_error, rte_flow_error_type, rte_flow_item, rte_mbuf,
    rte_mempool,
};

use crate::decode::{At, Fault, Part, lasting, raw};
use crate::device::{self, Device, Vdev};
use crate::ethdev::{self, Ethdev, MAX_DESCRIPTORS};
use crate::ffi::{self, log};
use crate::queues::{RxQueue, TxQueue};

/// The driver's behaviour, as the C side has it.
pub(crate) static CORE: ffi::nes_core = ffi::nes_core {
    probe: Some(probe),
    remove: Some(remove),
    rescan: Some(rescan),
    start: Some(start),
    stop: Some(stop),
    close: Some(close),
    info: Some(info),
    ranges: Some(ranges),
    link_up: Some(link_up),
    stats: Some(stats),
    stats_reset: Some(stats_reset),
    xstats_count: Some(xstats_count),
    xstats_name: Some(xstats_name),
    xstats_value: Some(xstats_value),
    mtu_set: Some(mtu_set),
    rx_queue_setup: Some(rx_queue_setup),
    rx_queue_release: Some(rx_queue_release),
    tx_queue_setup: Some(tx_queue_setup),
    tx_queue_release: Some(tx_queue_release),
    rx_interrupt: Some(rx_interrupt),
    rx_burst: Some(rx_burst),
    tx_burst: Some(tx_burst),
    flow_validate: Some(flow_validate),
    flow_create: Some(flow_create),
    flow_destroy: Some(flow_destroy),
    flow_flush: Some(flow_flush),
    flow_query: Some(flow_query),
};

/// # Safety
/// `text` is a C string that outlives `'a`.
unsafe fn text<'a>(text: *const c_char) -> Cow<'a, str> {
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// # Safety
/// `port` is the private data of an open port, which outlives `'a`.
unsafe fn ethdev<'a>(port: *mut c_void) -> &'a Ethdev {
    // SAFETY: it came from `Arc::into_raw`, and the reference that it stands for is alive until the
    // port is closed.
    unsafe { &*port.cast::<Ethdev>().cast_const() }
}

// --- the bus ------------------------------------------------------------------------------------

unsafe extern "C" fn probe(vdev: *mut c_void, name: *const c_char, args: *const c_char) -> c_int {
    // SAFETY: the bus hands over C strings for the call.
    let name = unsafe { text(name) };
    // SAFETY: as above.
    let args = unsafe { text(args) };
    match Device::probe(Vdev(vdev), &name, &args) {
        Ok(()) => 0,
        Err(why) => {
            log(&format!("{name}: {why}"));
            -why.errno()
        }
    }
}

unsafe extern "C" fn remove(name: *const c_char) -> c_int {
    // SAFETY: the bus hands over a C string for the call.
    device::remove(&unsafe { text(name) });
    0
}

unsafe extern "C" fn rescan(name: *const c_char, args: *const c_char) {
    // SAFETY: EAL's list of arguments holds C strings.
    let name = unsafe { text(name) };
    // SAFETY: as above.
    let args = unsafe { text(args) };
    device::rescan(&name, &args);
}

// --- ports ------------------------------------------------------------------------------------------

unsafe extern "C" fn start(port: *mut c_void) -> c_int {
    // SAFETY: ethdev calls with an open port.
    unsafe { ethdev(port) }.start();
    0
}

unsafe extern "C" fn stop(port: *mut c_void) {
    // SAFETY: ethdev calls with an open port.
    unsafe { ethdev(port) }.stop();
}

unsafe extern "C" fn close(port: *mut c_void) {
    // SAFETY: the pointer came from `Arc::into_raw`, and the C side gives it back here, once.
    let ethdev = unsafe { Arc::from_raw(port.cast::<Ethdev>().cast_const()) };
    ethdev.close();
}

unsafe extern "C" fn info(port: *mut c_void, out: *mut ffi::nes_info) {
    // SAFETY: ethdev calls with an open port.
    let info = unsafe { ethdev(port) }.info();
    // SAFETY: `out` is where the C side wants the answer.
    unsafe { out.write(info) };
}

unsafe extern "C" fn ranges(port: *mut c_void, pf: *mut u16, out: *mut ffi::nes_range, cap: u32) -> u32 {
    // SAFETY: ethdev calls with an open port.
    let ethdev = unsafe { ethdev(port) };
    // SAFETY: `pf` is where the C side wants the answer.
    unsafe { pf.write(ethdev.pf()) };
    let ranges = ethdev.ranges();
    let n = ranges.len().min(cap as usize);
    // SAFETY: `out` has room for `cap` ranges, and Rust's list is elsewhere.
    unsafe { out.copy_from_nonoverlapping(ranges.as_ptr(), n) };
    n as u32
}

unsafe extern "C" fn link_up(port: *mut c_void) -> c_int {
    // SAFETY: ethdev calls with an open port.
    unsafe { ethdev(port) }.port.backing.link_up().into()
}

unsafe extern "C" fn mtu_set(port: *mut c_void, mtu: u16) -> c_int {
    // SAFETY: ethdev calls with an open port.
    if unsafe { ethdev(port) }.set_mtu(mtu) { 0 } else { -libc::EINVAL }
}

// --- statistics --------------------------------------------------------------------------------------

unsafe extern "C" fn stats(port: *mut c_void, out: *mut ffi::nes_stats) {
    // SAFETY: ethdev calls with an open port.
    let stats = unsafe { ethdev(port) }.stats();
    // SAFETY: `out` is where the C side wants the answer.
    unsafe { out.write(stats) };
}

unsafe extern "C" fn stats_reset(port: *mut c_void) {
    // SAFETY: ethdev calls with an open port.
    unsafe { ethdev(port) }.reset_stats();
}

unsafe extern "C" fn xstats_count(_port: *mut c_void) -> u32 {
    ethdev::xstat_names().count() as u32
}

unsafe extern "C" fn xstats_name(_port: *mut c_void, index: u32, name: *mut c_char, size: u32) {
    // SAFETY: the C side has `size` bytes there.
    let to = unsafe { std::slice::from_raw_parts_mut(name, size as usize) };
    if let Some(name) = ethdev::xstat_names().nth(index as usize) {
        ethdev::copy_name(to, &name);
    }
}

unsafe extern "C" fn xstats_value(port: *mut c_void, index: u32) -> u64 {
    // SAFETY: ethdev calls with an open port.
    unsafe { ethdev(port) }.xstat(index as usize)
}

// --- queues ---------------------------------------------------------------------------------------------

unsafe extern "C" fn rx_queue_setup(
    port: *mut c_void,
    descriptors: u16,
    pool: *mut rte_mempool,
    port_id: u16,
    scatter: u8,
    queue: *mut *mut c_void,
) -> c_int {
    if descriptors > MAX_DESCRIPTORS {
        return -libc::EINVAL;
    }
    // SAFETY: ethdev calls with an open port.
    let port = &unsafe { ethdev(port) }.port;
    // SAFETY: the application keeps the pool until it has closed the port.
    let made = unsafe { RxQueue::new(port, descriptors, pool, port_id, scatter != 0) };
    // SAFETY: `queue` is where the C side wants the answer.
    unsafe { queue.write(Box::into_raw(Box::new(made)).cast()) };
    0
}

unsafe extern "C" fn rx_queue_release(queue: *mut c_void) {
    // SAFETY: the pointer is the one that the setup gave, given back once.
    drop(unsafe { Box::from_raw(queue.cast::<RxQueue>()) });
}

unsafe extern "C" fn tx_queue_setup(port: *mut c_void, queue: *mut *mut c_void) -> c_int {
    // SAFETY: ethdev calls with an open port.
    let made = TxQueue::new(&unsafe { ethdev(port) }.port);
    // SAFETY: `queue` is where the C side wants the answer.
    unsafe { queue.write(Box::into_raw(Box::new(made)).cast()) };
    0
}

unsafe extern "C" fn tx_queue_release(queue: *mut c_void) {
    // SAFETY: the pointer is the one that the setup gave, given back once.
    drop(unsafe { Box::from_raw(queue.cast::<TxQueue>()) });
}

unsafe extern "C" fn rx_interrupt(port: *mut c_void, enable: c_int) -> c_int {
    // SAFETY: ethdev calls with an open port.
    let representor = &unsafe { ethdev(port) }.port.representor;
    if enable != 0 {
        representor.enable_interrupt();
    } else {
        representor.disable_interrupt();
    }
    0
}

unsafe extern "C" fn rx_burst(queue: *mut c_void, mbufs: *mut *mut rte_mbuf, n: u16) -> u16 {
    // SAFETY: the pointer is the one that the setup gave, and the queue is not released in a burst.
    let queue = unsafe { &*queue.cast::<RxQueue>().cast_const() };
    // SAFETY: the application has `n` places there.
    let mbufs = unsafe { std::slice::from_raw_parts_mut(mbufs, n.into()) };
    // SAFETY: one thread works on a queue at a time, and its pool outlives it.
    unsafe { queue.burst(mbufs) as u16 }
}

unsafe extern "C" fn tx_burst(queue: *mut c_void, mbufs: *mut *mut rte_mbuf, n: u16) -> u16 {
    // SAFETY: the pointer is the one that the setup gave, and the queue is not released in a burst.
    let queue = unsafe { &*queue.cast::<TxQueue>().cast_const() };
    // SAFETY: the application has `n` packets there.
    let mbufs = unsafe { std::slice::from_raw_parts(mbufs, n.into()) };
    // SAFETY: the packets are the application's, and whole.
    unsafe { queue.burst(mbufs) as u16 }
}

// --- rte_flow ---------------------------------------------------------------------------------------------

/// A rule's pointers, for the time of a call.
struct Request {
    attr: *const rte_flow_attr,
    pattern: *const rte_flow_item,
    actions: *const rte_flow_action,
    error: *mut rte_flow_error,
}

impl Request {
    /// Reads the rule and does something with it.
    ///
    /// # Safety
    /// The pointers are those of a call of `rte_flow_validate` or `rte_flow_create`.
    unsafe fn with<T>(
        &self,
        act: impl FnOnce(rte_flow_attr, &[raw::Item], &[raw::RawAction]) -> Result<T, Fault>,
    ) -> Result<T, c_int> {
        let read = || {
            // SAFETY: a call has attributes, or null.
            let attr = unsafe { self.attr.as_ref() };
            let attr = *attr.ok_or_else(|| Fault::invalid(At::Attr, "no attributes"))?;
            // SAFETY: a call has an array of items, as rte_flow.h asks for.
            let items = unsafe { raw::pattern(self.pattern) }?;
            // SAFETY: a call has an array of actions, as rte_flow.h asks for.
            let actions = unsafe { raw::actions(self.actions) }?;
            act(attr, &items, &actions)
        };
        // SAFETY: the error is the one of the call.
        read().map_err(|fault| unsafe { self.refuse(&fault) })
    }

    /// Tells the fault; gives the negative errno.
    ///
    /// # Safety
    /// As for [`Request::with`].
    unsafe fn refuse(&self, fault: &Fault) -> c_int {
        let cause: *const c_void = match fault.at {
            At::Item { index, .. } => self.pattern.wrapping_add(index).cast(),
            At::Action { index } | At::ActionConf { index } => self.actions.wrapping_add(index).cast(),
            At::Pattern => self.pattern.cast(),
            At::Actions => self.actions.cast(),
            At::Handle | At::Rule => std::ptr::null(),
            _ => self.attr.cast(),
        };
        let message = lasting(&fault.message).as_ptr();
        // SAFETY: the error is null or the caller's, and the message lives for ever.
        unsafe { dpdk_sys::rte_flow_error_set(self.error, fault.errno, kind(fault.at), cause, message) }
    }
}

fn kind(at: At) -> rte_flow_error_type {
    match at {
        At::Group => dpdk_sys::RTE_FLOW_ERROR_TYPE_ATTR_GROUP,
        At::Priority => dpdk_sys::RTE_FLOW_ERROR_TYPE_ATTR_PRIORITY,
        At::Ingress => dpdk_sys::RTE_FLOW_ERROR_TYPE_ATTR_INGRESS,
        At::Egress => dpdk_sys::RTE_FLOW_ERROR_TYPE_ATTR_EGRESS,
        At::Transfer => dpdk_sys::RTE_FLOW_ERROR_TYPE_ATTR_TRANSFER,
        At::Attr => dpdk_sys::RTE_FLOW_ERROR_TYPE_ATTR,
        At::Pattern => dpdk_sys::RTE_FLOW_ERROR_TYPE_ITEM_NUM,
        At::Item { part: Part::Type, .. } => dpdk_sys::RTE_FLOW_ERROR_TYPE_ITEM,
        At::Item { part: Part::Spec, .. } => dpdk_sys::RTE_FLOW_ERROR_TYPE_ITEM_SPEC,
        At::Item { part: Part::Last, .. } => dpdk_sys::RTE_FLOW_ERROR_TYPE_ITEM_LAST,
        At::Item { part: Part::Mask, .. } => dpdk_sys::RTE_FLOW_ERROR_TYPE_ITEM_MASK,
        At::Actions => dpdk_sys::RTE_FLOW_ERROR_TYPE_ACTION_NUM,
        At::Action { .. } => dpdk_sys::RTE_FLOW_ERROR_TYPE_ACTION,
        At::ActionConf { .. } => dpdk_sys::RTE_FLOW_ERROR_TYPE_ACTION_CONF,
        At::Handle => dpdk_sys::RTE_FLOW_ERROR_TYPE_HANDLE,
        At::Rule => dpdk_sys::RTE_FLOW_ERROR_TYPE_UNSPECIFIED,
    }
}

const fn request(error: *mut rte_flow_error) -> Request {
    Request { attr: std::ptr::null(), pattern: std::ptr::null(), actions: std::ptr::null(), error }
}

unsafe extern "C" fn flow_validate(
    port: *mut c_void,
    attr: *const rte_flow_attr,
    pattern: *const rte_flow_item,
    actions: *const rte_flow_action,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: ethdev calls with an open port.
    let ethdev = unsafe { ethdev(port) };
    let request = Request { attr, pattern, actions, error };
    // SAFETY: the pointers are those of this call.
    let done = unsafe { request.with(|attr, items, actions| ethdev.validate(&attr, items, actions)) };
    done.err().unwrap_or(0)
}

unsafe extern "C" fn flow_create(
    port: *mut c_void,
    attr: *const rte_flow_attr,
    pattern: *const rte_flow_item,
    actions: *const rte_flow_action,
    error: *mut rte_flow_error,
) -> *mut rte_flow {
    // SAFETY: ethdev calls with an open port.
    let ethdev = unsafe { ethdev(port) };
    let request = Request { attr, pattern, actions, error };
    // SAFETY: the pointers are those of this call.
    let made = unsafe { request.with(|attr, items, actions| ethdev.create(&attr, items, actions)) };
    // The handle is a number that nobody looks behind.
    made.map_or(std::ptr::null_mut(), |handle| std::ptr::without_provenance_mut(handle as usize))
}

unsafe extern "C" fn flow_destroy(
    port: *mut c_void,
    flow: *mut rte_flow,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: ethdev calls with an open port.
    match unsafe { ethdev(port) }.destroy(flow.addr() as u64) {
        Ok(()) => 0,
        // SAFETY: the error is the one of this call.
        Err(fault) => unsafe { request(error).refuse(&fault) },
    }
}

unsafe extern "C" fn flow_flush(port: *mut c_void, _error: *mut rte_flow_error) -> c_int {
    // SAFETY: ethdev calls with an open port.
    unsafe { ethdev(port) }.flush();
    0
}

unsafe extern "C" fn flow_query(
    port: *mut c_void,
    flow: *mut rte_flow,
    action: *const rte_flow_action,
    data: *mut c_void,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: ethdev calls with an open port.
    let ethdev = unsafe { ethdev(port) };
    let request = Request { actions: action, ..request(error) };
    let answer = data.cast::<dpdk_sys::rte_flow_query_count>();
    // SAFETY: the caller asks about one action of its own.
    let asked = unsafe { action.as_ref() };
    if asked.is_none_or(|action| action.type_ != dpdk_sys::RTE_FLOW_ACTION_TYPE_COUNT) || answer.is_null() {
        let fault = Fault::unsupported(At::Action { index: 0 }, "only count can be queried");
        // SAFETY: the error is the one of this call.
        return unsafe { request.refuse(&fault) };
    }
    // SAFETY: a query of COUNT has this struct behind `data`.
    let answer = unsafe { &mut *answer };
    match ethdev.query(flow.addr() as u64, answer.reset() != 0) {
        Ok(counters) => {
            answer.set_hits_set(1);
            answer.set_bytes_set(1);
            answer.hits = counters.packets;
            answer.bytes = counters.bytes;
            0
        }
        // SAFETY: the error is the one of this call.
        Err(fault) => unsafe { request.refuse(&fault) },
    }
}
