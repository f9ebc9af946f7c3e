//! `rte_flow` rules: typed items and actions in, owned handles and errors that
//! name the part at fault out.

mod action;
mod encode;
mod error;
mod item;
#[cfg(test)]
mod tests;

pub use action::{Action, Addresses, VxlanEncap};
pub use error::{AttrField, FlowCall, FlowError, ItemPart, Place};
pub use item::{Arp, Eth, Icmp, Ipv4, Ipv6, Item, Masked, Tcp, Udp, Vlan, Vxlan};

use core::ffi::CStr;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use std::sync::PoisonError;

use dpdk_sys as sys;

use crate::errno::Errno;
use crate::ethdev::{DevId, Port};
use encode::Encoded;

/// Where a rule goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    /// Into the embedded switch, rather than before one port's queues.
    pub transfer: bool,
    /// On packets that a port receives; without `transfer`.
    pub ingress: bool,
    /// On packets that a port sends; without `transfer`.
    pub egress: bool,
    /// The group (table).
    pub group: u32,
    /// The priority in the group; 0 comes first.
    pub priority: u32,
}

impl Attr {
    /// A rule of the embedded switch: group 0, first priority.
    pub const TRANSFER: Self = Self { transfer: true, ingress: false, egress: false, group: 0, priority: 0 };

    fn encode(&self) -> sys::rte_flow_attr {
        let mut attr =
            sys::rte_flow_attr { group: self.group, priority: self.priority, ..Default::default() };
        attr.set_transfer(u32::from(self.transfer));
        attr.set_ingress(u32::from(self.ingress));
        attr.set_egress(u32::from(self.egress));
        attr
    }
}

/// A rule's counter. A driver may lag behind by a second, and may count only one
/// of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets that hit the rule.
    pub packets: Option<u64>,
    /// Their bytes.
    pub bytes: Option<u64>,
}

/// A rule in a device. Destroyed when dropped; [`FlowRule::destroy`] does the
/// same and says whether it worked.
#[must_use = "a rule is destroyed when its handle is dropped"]
pub struct FlowRule {
    port: Port,
    handle: NonNull<sys::rte_flow>,
    /// The port's epoch when the rule was made: in another one it is gone.
    epoch: u64,
}

// SAFETY: the handle names a rule to the driver; flow calls may come from any
// thread (DPDK locks for drivers that cannot do so themselves).
unsafe impl Send for FlowRule {}
// SAFETY: as above; `query_count` is such a call.
unsafe impl Sync for FlowRule {}

/// A rule that its driver did not destroy: it stays, and so does its handle.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct DestroyError {
    /// The rule.
    pub rule: FlowRule,
    /// Why.
    #[source]
    pub error: FlowError,
}

impl Port {
    /// Whether the driver would take this rule now.
    pub fn validate_flow(&self, attr: &Attr, pattern: &[Item], actions: &[Action]) -> Result<(), FlowError> {
        let (raw_attr, rule) = (attr.encode(), Encoded::new(pattern, actions));
        let _no_stop = self.0.epoch.read().unwrap_or_else(PoisonError::into_inner);
        let mut error = no_error();
        // SAFETY: the port is ours; the attributes and both arrays with all that they
        // point to live until the call returns.
        let result = unsafe {
            sys::rte_flow_validate(
                self.id().get(),
                &raw const raw_attr,
                rule.pattern(),
                rule.actions(),
                &raw mut error,
            )
        };
        match Errno::check(result) {
            Ok(_) => Ok(()),
            Err(errno) => Err(refusal(self.id(), FlowCall::Validate, errno, &error, Some(&rule))),
        }
    }

    /// Makes a rule.
    pub fn create_flow(
        &self,
        attr: &Attr,
        pattern: &[Item],
        actions: &[Action],
    ) -> Result<FlowRule, FlowError> {
        let (raw_attr, rule) = (attr.encode(), Encoded::new(pattern, actions));
        let epoch = self.0.epoch.read().unwrap_or_else(PoisonError::into_inner);
        let mut error = no_error();
        // SAFETY: as for `validate_flow`; the driver copies what it keeps.
        let handle = unsafe {
            sys::rte_flow_create(
                self.id().get(),
                &raw const raw_attr,
                rule.pattern(),
                rule.actions(),
                &raw mut error,
            )
        };
        match NonNull::new(handle) {
            Some(handle) => Ok(FlowRule { port: self.clone(), handle, epoch: *epoch }),
            None => Err(refusal(self.id(), FlowCall::Create, Errno::last(), &error, Some(&rule))),
        }
    }

    /// Takes away every rule that was made on this port. The handles of those
    /// rules are stale from here on: they touch nothing any more.
    pub fn flush_flows(&self) -> Result<(), FlowError> {
        let mut epoch = self.0.epoch.write().unwrap_or_else(PoisonError::into_inner);
        // Counted even if the driver fails: some rules may be gone.
        *epoch += 1;
        let mut error = no_error();
        // SAFETY: the port is ours, and no other flow call runs on it.
        let result = unsafe { sys::rte_flow_flush(self.id().get(), &raw mut error) };
        match Errno::check(result) {
            Ok(_) => Ok(()),
            Err(errno) => Err(refusal(self.id(), FlowCall::Flush, errno, &error, None)),
        }
    }

    /// The port on which transfer rules for this port's switch are made: often
    /// the port itself.
    pub fn transfer_proxy(&self) -> Result<DevId, FlowError> {
        let mut error = no_error();
        let mut proxy = 0;
        // SAFETY: the port is ours, and the number is ours to write.
        let result =
            unsafe { sys::rte_flow_pick_transfer_proxy(self.id().get(), &raw mut proxy, &raw mut error) };
        match Errno::check(result) {
            Ok(_) => Ok(DevId::from_raw(proxy)),
            Err(errno) => Err(refusal(self.id(), FlowCall::TransferProxy, errno, &error, None)),
        }
    }
}

impl FlowRule {
    /// The port that the rule was made on.
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// Whether a flush or a stop of the port has taken the rule away.
    pub fn is_stale(&self) -> bool {
        *self.port.0.epoch.read().unwrap_or_else(PoisonError::into_inner) != self.epoch
    }

    /// Reads the counter of a rule made with [`Action::Count`].
    pub fn query_count(&self) -> Result<Count, FlowError> {
        let epoch = self.port.0.epoch.read().unwrap_or_else(PoisonError::into_inner);
        if *epoch != self.epoch {
            return Err(self.stale(FlowCall::Query));
        }
        let conf = sys::rte_flow_action_count { id: 0 };
        let actions = [
            sys::rte_flow_action { type_: sys::RTE_FLOW_ACTION_TYPE_COUNT, conf: (&raw const conf).cast() },
            sys::rte_flow_action { type_: sys::RTE_FLOW_ACTION_TYPE_END, conf: ptr::null() },
        ];
        let mut count = sys::rte_flow_query_count::default();
        let mut error = no_error();
        // SAFETY: the rule is in the device (its epoch is the port's, and the lock
        // keeps it so), the action lives, and `count` is what COUNT writes.
        let result = unsafe {
            sys::rte_flow_query(
                self.port.id().get(),
                self.handle.as_ptr(),
                actions.as_ptr(),
                (&raw mut count).cast(),
                &raw mut error,
            )
        };
        match Errno::check(result) {
            Ok(_) => Ok(Count {
                packets: (count.hits_set() != 0).then_some(count.hits),
                bytes: (count.bytes_set() != 0).then_some(count.bytes),
            }),
            Err(errno) => Err(refusal(self.port.id(), FlowCall::Query, errno, &error, None)),
        }
    }

    /// Takes the rule away. A stale rule is gone already, which is as good. If
    /// the driver refuses, the rule comes back in the error.
    pub fn destroy(self) -> Result<(), Box<DestroyError>> {
        let mut rule = ManuallyDrop::new(self);
        match rule.destroy_once() {
            Ok(()) => {
                // SAFETY: the rule is gone; only the handle to the port is left, and
                // `rule` is not used again.
                unsafe { ptr::drop_in_place(&raw mut rule.port) };
                Ok(())
            }
            Err(error) => Err(Box::new(DestroyError { rule: ManuallyDrop::into_inner(rule), error })),
        }
    }

    /// The call, for an owner that makes no other afterwards if it succeeds.
    fn destroy_once(&mut self) -> Result<(), FlowError> {
        let epoch = self.port.0.epoch.read().unwrap_or_else(PoisonError::into_inner);
        if *epoch != self.epoch {
            return Ok(());
        }
        let mut error = no_error();
        // SAFETY: the rule is in the device (its epoch is the port's, and the lock
        // keeps it so), and `&mut self` makes this the only call on it.
        let result =
            unsafe { sys::rte_flow_destroy(self.port.id().get(), self.handle.as_ptr(), &raw mut error) };
        match Errno::check(result) {
            Ok(_) => Ok(()),
            Err(errno) => Err(refusal(self.port.id(), FlowCall::Destroy, errno, &error, None)),
        }
    }

    fn stale(&self, call: FlowCall) -> FlowError {
        FlowError {
            port: self.port.id(),
            call,
            place: Place::Handle,
            errno: Errno::ENOENT,
            message: Some("the port's rules were taken away by a flush or a stop".into()),
        }
    }
}

impl Drop for FlowRule {
    fn drop(&mut self) {
        // Nobody is left to tell; who wants to know calls `destroy`.
        drop(self.destroy_once());
    }
}

impl fmt::Debug for FlowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlowRule({}, {:p})", self.port.id(), self.handle)
    }
}

fn no_error() -> sys::rte_flow_error {
    sys::rte_flow_error { type_: sys::RTE_FLOW_ERROR_TYPE_NONE, cause: ptr::null(), message: ptr::null() }
}

/// The driver's error in our words. Without `rule`, nothing of a rule is at fault.
fn refusal(
    port: DevId,
    call: FlowCall,
    errno: Errno,
    error: &sys::rte_flow_error,
    rule: Option<&Encoded>,
) -> FlowError {
    let message = (!error.message.is_null()).then(|| {
        // SAFETY: not null; drivers give static strings that end with a zero byte.
        let message = unsafe { CStr::from_ptr(error.message) };
        message.to_string_lossy().into()
    });
    let place = match rule {
        Some(rule) => rule.place(error.type_, error.cause),
        None if error.type_ == sys::RTE_FLOW_ERROR_TYPE_HANDLE => Place::Handle,
        None if error.type_ == sys::RTE_FLOW_ERROR_TYPE_STATE => Place::State,
        None => Place::Unspecified,
    };
    FlowError { port, call, place, errno, message }
}
