#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nic_fuzz::bundle::update_bundle(data));
