//! Why a rule is refused, as `rte_flow` says it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::sync::{Mutex, PoisonError};

use soft_eswitch::Failure;

/// What is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Group,
    Priority,
    Ingress,
    Egress,
    Transfer,
    Attr,
    /// The pattern as a whole.
    Pattern,
    /// One item of the pattern.
    Item {
        index: usize,
        part: Part,
    },
    /// The actions as a whole.
    Actions,
    /// One action.
    Action {
        index: usize,
    },
    /// The values of one action.
    ActionConf {
        index: usize,
    },
    /// The rule's handle.
    Handle,
    /// The rule, or the port.
    Rule,
}

/// Which part of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Type,
    Spec,
    Last,
    Mask,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: At,
    /// Positive.
    pub(crate) errno: i32,
    pub(crate) message: Cow<'static, str>,
}

impl Fault {
    pub(crate) fn unsupported(at: At, message: impl Into<Cow<'static, str>>) -> Fault {
        Fault { at, errno: libc::ENOTSUP, message: message.into() }
    }

    pub(crate) fn invalid(at: At, message: impl Into<Cow<'static, str>>) -> Fault {
        Fault { at, errno: libc::EINVAL, message: message.into() }
    }

    /// What the switch was told to fail with.
    pub(crate) fn of_card(failure: Failure) -> Fault {
        Fault { at: At::Rule, errno: failure.errno(), message: failure.to_string().into() }
    }

    /// A fault of the definition in an action, which `rte_flow` can point at as a whole only: the message
    /// says which item of it.
    pub(crate) fn in_definition(self, action: usize) -> Fault {
        let message = match self.at {
            At::Item { index, .. } => format!("item {index} of the definition: {}", self.message).into(),
            _ => self.message,
        };
        Fault { at: At::ActionConf { index: action }, errno: self.errno, message }
    }
}

/// The text as a C string that lives for ever, as `rte_flow_error` asks for. There are as many of
/// them as the driver has different messages.
pub(crate) fn lasting(text: &str) -> &'static CStr {
    static TEXTS: Mutex<BTreeSet<&'static CStr>> = Mutex::new(BTreeSet::new());
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text.as_c_str()) {
        return known;
    }
    let text: &'static CStr = Box::leak(text.into_boxed_c_str());
    texts.insert(text);
    text
}
