//! The C side, as bindgen reads `shim/net_eswitch_shim.h`.

#[expect(unreachable_pub, non_camel_case_types, reason = "generated from the header, under the names of C")]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/shim.rs"));
}

pub(crate) use bindings::*;

use std::ffi::CString;

/// Writes an error to EAL's log.
pub(crate) fn log(text: &str) {
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    // SAFETY: the text is a C string, read during the call only.
    unsafe { nes_log(text.as_ptr()) };
}
