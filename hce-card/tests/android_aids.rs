//! The AIDs that the Android app asks the system for are those of this phone, and Aliro's.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use tapdoor_protocol::aid::Aid;

const APDUSERVICE: &str = include_str!("../android/src/main/res/xml/apduservice.xml");

#[test]
fn the_app_is_routed_what_the_phone_answers() {
    let listed: BTreeSet<Aid> = APDUSERVICE
        .split("<aid-filter android:name=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
        .collect();
    let ours = [
        Aid::CHALLENGE_RESPONSE,
        Aid::AKA,
        Aid::IDENTITY,
        Aid::ALIRO_EXPEDITED,
        Aid::ALIRO_STEP_UP,
    ];
    assert_eq!(listed, ours.into());
    // One group, or Android could give us a part of them.
    assert_eq!(APDUSERVICE.matches("<aid-group").count(), 1);
    assert!(APDUSERVICE.contains("android:category=\"other\""));
}
