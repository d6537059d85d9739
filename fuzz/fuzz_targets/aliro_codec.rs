//! Aliro's data objects and certificates: what is read says the same when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapdoor_protocol::aliro::auth::parse_cryptogram_text;
use tapdoor_protocol::aliro::exchange::{ExchangeCommand, ExchangeResponse};
use tapdoor_protocol::aliro::{Auth0Command, Auth0Response, Auth1Command, Auth1Response, Certificate, ControlFlow, DeviceConfig, Fci, KeyForm, ReaderConfig};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(command) = Auth0Command::parse(bytes) {
        assert_eq!(Auth0Command::parse(&command.encode()), Ok(command));
    }
    for fast in [false, true] {
        if let Ok(response) = Auth0Response::parse(bytes, fast) {
            assert_eq!(Auth0Response::parse(&response.encode(), fast), Ok(response));
        }
    }
    if let Ok(command) = Auth1Command::parse(bytes) {
        assert_eq!(Auth1Command::parse(&command.encode()), Ok(command));
    }
    for form in [KeyForm::Slot, KeyForm::PublicKey] {
        if let Ok(response) = Auth1Response::parse(bytes, form) {
            assert_eq!(Auth1Response::parse(&response.encode(), form), Ok(response));
        }
    }
    if let Ok(command) = ExchangeCommand::parse(bytes) {
        // 81 may carry a value, which is not kept.
        assert_eq!(ExchangeCommand::parse(&command.encode()), Ok(command));
    }
    if let Some(response) = ExchangeResponse::parse(bytes) {
        assert_eq!(response.encode(), bytes);
    }
    if let Ok(certificate) = Certificate::parse(bytes) {
        assert_eq!(Certificate::parse(&certificate.encode()), Ok(certificate.clone()));
        assert_eq!(Certificate::from_x509(&certificate.to_x509(&certificate.key)), Ok(certificate));
    }
    let _ = Certificate::from_x509(bytes);
    let _ = Fci::parse(bytes);
    let _ = ControlFlow::parse(bytes);
    let _ = parse_cryptogram_text(bytes);
    let _ = DeviceConfig::decode(bytes);
    let _ = ReaderConfig::decode(bytes);
});
