#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailsplice_fuzz::message(input));
