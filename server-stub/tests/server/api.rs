//! Administration.

use serde_json::json;
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::crypto::sign;
use tapdoor_protocol::globalplatform::load_file::LoadFile;

use crate::site::{IMEI, LOCK, PHONE, SERVER, Site, load_file, public};

#[tokio::test(flavor = "multi_thread")]
async fn locks_and_phones() {
    let site = Site::start().await;
    let (status, lock) = site
        .post(
            "/v1/locks",
            &json!({"imsi": "001010000000005", "system": "locker", "window": "01:00-02:00"}),
        )
        .await;
    assert_eq!(status, 201, "{lock}");
    let id = lock["id"].as_str().unwrap();
    assert_eq!((id.len(), &lock["system"], &lock["chip"]), (16, &json!("locker"), &json!(false)));
    // Taken, malformed, unknown.
    assert_eq!(site.post("/v1/locks", &json!({"imsi": "001010000000005"})).await.0, 409);
    assert_eq!(site.post("/v1/locks", &json!({"id": id})).await.0, 409);
    let (status, refused) = site.post("/v1/locks", &json!({"iccid": "8900101000000000015"})).await;
    assert_eq!((status, &refused["code"]), (400, &json!("malformed-identifier")));
    assert_eq!(site.post("/v1/locks", &json!({"imei": IMEI})).await.0, 400, "a lock has no IMEI");
    // Changed by any of its names; keys are never shown.
    let key = "42".repeat(16);
    let change = json!({"chip": {"enc": key, "mac": key, "dek": key}, "public_key": public(&SERVER), "window": ""});
    let patched = site
        .client
        .patch(format!("{}/v1/locks/imsi:001010000000005", site.url))
        .bearer_auth(crate::site::TOKEN);
    let (status, changed) = crate::site::answer(patched.json(&change)).await;
    assert_eq!(
        (status, &changed["chip"], &changed["window"]),
        (200, &json!(true), &json!(null)),
        "{changed}"
    );
    assert!(!changed.to_string().contains(&key));
    let (_, all) = site.get("/v1/locks").await;
    assert!(all.to_string().contains("..005") && !all.to_string().contains("001010000000005"));
    let (_, all) = site.get("/v1/locks?identities=true").await;
    assert!(all.to_string().contains("001010000000005"));
    let deleted = site
        .client
        .delete(format!("{}/v1/locks/{id}", site.url))
        .bearer_auth(crate::site::TOKEN);
    assert_eq!(crate::site::answer(deleted).await.1["revoked"], true);

    let (status, phone) = site.post("/v1/phones", &json!({"msisdn": "+491511234567"})).await;
    assert_eq!((status, &phone["identifiers"]["msisdn"]), (201, &json!("491511234567")));
    assert_eq!(site.post("/v1/phones", &json!({"msisdn": "491511234567"})).await.0, 409);
    let (_, all) = site.get("/v1/phones").await;
    assert!(!all.to_string().contains(IMEI), "masked");
    let deleted = site
        .client
        .delete(format!("{}/v1/phones/{IMEI}", site.url))
        .bearer_auth(crate::site::TOKEN);
    let (status, gone) = crate::site::answer(deleted).await;
    assert_eq!((status, &gone["revoked"]), (200, &json!(true)));
    // Its lock is told to take it off the list: the job of the start was joined.
    let (_, jobs) = site.get(&format!("/v1/jobs?lock={LOCK}&state=queued")).await;
    assert_eq!(jobs.as_array().unwrap().len(), 1, "{jobs}");
    assert_eq!(jobs[0]["kind"], json!({"entry": {"phone": PHONE.to_string()}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn grants() {
    let site = Site::start().await;
    let body = json!({"phone": format!("imei:{IMEI}"), "group": "front", "until": "2030-01-01T00:00:00Z", "weakest": "aka"});
    let (status, made) = site.post("/v1/grants", &body).await;
    assert_eq!((status, made["jobs"].as_array().unwrap().len()), (200, 1), "{made}");
    let (_, all) = site.get("/v1/grants").await;
    let group = all.as_array().unwrap().iter().find(|g| g["group"] == "front").unwrap();
    assert_eq!(
        (&group["until"], &group["weakest"], &group["good"]),
        (&json!("2030-01-01T00:00:00Z"), &json!("aka"), &json!(true))
    );
    for (body, code) in [
        (json!({"phone": "001017000000003", "lock": LOCK.to_string()}), "unknown-phone"),
        (json!({"phone": IMEI, "lock": "02:00:5e:10:00:99"}), "unknown-lock"),
        (json!({"phone": IMEI}), "malformed"),
        (json!({"phone": IMEI, "lock": LOCK.to_string(), "group": "x"}), "malformed"),
        (json!({"phone": IMEI, "group": "x", "until": "soon"}), "malformed"),
        (json!({"phone": IMEI, "group": "x", "weakest": "none"}), "malformed"),
        (json!({"phone": "!", "group": "x"}), "malformed-identifier"),
    ] {
        assert_eq!(site.post("/v1/grants", &body).await.1["code"], code, "{body}");
    }
    let (status, _) = site.post("/v1/revoke", &json!({"phone": IMEI})).await;
    assert_eq!(status, 200);
    let (_, all) = site.get("/v1/grants").await;
    assert!(all.as_array().unwrap().iter().all(|grant| grant["revoked"] == true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_stays_so_after_a_restart() {
    let mut site = Site::start().await;
    site.post("/v1/revoke", &json!({"phone": PHONE.to_string()})).await;
    site.restart().await;
    assert_eq!(site.get("/v1/grants").await.1[0]["revoked"], true);
    assert_eq!(site.get("/v1/status").await.1["applications"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_and_their_signatures() {
    let site = Site::start().await;
    let body = |version: &str, file: &[u8], provider: Option<&str>| {
        json!({"name": "x", "version": version, "provider": provider, "elf": "f0544150444f4f52a2", "module": "f0544150444f4f52a201",
            "aid": "f0544150444f4f5202", "load_file": hex::encode(file)})
    };
    let plain = load_file(7, 100);
    assert_eq!(site.post("/v1/applications", &body("1.0", &plain, None)).await.0, 201);
    assert_eq!(
        site.post("/v1/applications", &body("1.0", &plain, None)).await.0,
        201,
        "the same again"
    );
    assert_eq!(site.post("/v1/applications", &body("1.0", &load_file(8, 100), None)).await.0, 409);
    let (status, refused) = site.post("/v1/applications", &body("1.1", &plain[..50], None)).await;
    assert_eq!((status, &refused["code"]), (400, &json!("bad-load-file")));
    assert_eq!(site.post("/v1/applications", &body("1", &plain, None)).await.0, 400);
    let key = [0x33; 32];
    assert_eq!(site.post("/v1/providers", &json!({"name": "p", "key": public(&key)})).await.0, 200);
    assert_eq!(
        site.post("/v1/applications", &body("1.1", &plain, Some("p"))).await.1["code"],
        "bad-load-file"
    );
    let signed = |key: [u8; 32]| LoadFile::signed(&[7; 100], Aid::CARD_MANAGER, |hash| sign::sign(&key, hash)).unwrap();
    assert_eq!(
        site.post("/v1/applications", &body("1.1", &signed([0x34; 32]), Some("p"))).await.0,
        400
    );
    assert_eq!(site.post("/v1/applications", &body("1.1", &signed(key), Some("p"))).await.0, 201);
    assert_eq!(
        site.post("/v1/push", &json!({"application": "nothing", "to": {"system": "door"}}))
            .await
            .1["code"],
        "no-application"
    );
    let (_, made) = site.post("/v1/push", &json!({"application": "x", "to": {"system": "door"}})).await;
    assert_eq!(made["jobs"].as_array().unwrap().len(), 1, "the one phone with a grant: {made}");
    let (_, systems) = site.get("/v1/systems").await;
    assert_eq!(systems[0]["application"], "cr");
    assert_eq!(
        site.post("/v1/systems", &json!({"name": "locker", "application": "x"})).await.0,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_names_every_route() {
    let site = Site::start().await;
    let (status, document) = site.get("/openapi.json").await;
    assert_eq!(status, 200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/v1/downloads",
        "/v1/admin",
        "/v1/admin/{token}/{step}",
        "/v1/locks",
        "/v1/locks/{lock}",
        "/v1/phones",
        "/v1/phones/{phone}",
        "/v1/grants",
        "/v1/revoke",
        "/v1/systems",
        "/v1/providers",
        "/v1/applications",
        "/v1/push",
        "/v1/jobs",
        "/v1/jobs/{job}",
        "/v1/status",
        "/healthz",
    ] {
        assert!(paths.contains_key(path), "{path} is not described");
    }
    // Generators of clients name functions by these.
    let mut ids: Vec<&str> = paths
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), all), (24, 24));
    // Every reference leads somewhere.
    let text = document.to_string();
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
    }
}
