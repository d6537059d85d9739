//! Downloads and jobs, from the request to the chip: that it works, and what happens when something is lost.

use serde_json::json;
use tapdoor_protocol::globalplatform::scp03::Keys;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::tlv;
use tapdoor_server::proof::authorization;

use crate::agent::Agent;
use crate::site::{Ask, LOCK, PHONE, Site, chip_keys_toml, event, load_file};

const APPLICATION: &str = "f0544150444f4f5201";

#[tokio::test(flavor = "multi_thread")]
async fn a_download_installs_and_updates_the_lock() {
    let site = Site::start().await;
    let (phone, lock) = (Agent::phone(&site, PHONE), Agent::lock(&site, LOCK));
    let (_a, _b) = (phone.spawn(), lock.spawn());
    let (status, events) = site.download(&Ask::new()).await;
    assert_eq!(status, 200, "{events:?}");
    let last = events.last().unwrap();
    assert_eq!(
        (&last["event"], &last["application"], &last["version"]),
        (&json!("installed"), &json!(APPLICATION), &json!("1.0")),
        "{events:?}"
    );
    assert_eq!(events[0]["event"], "accepted");
    let progress = event(&events, "progress").unwrap();
    assert!(progress["done"].as_u64() <= progress["total"].as_u64() && progress["total"].as_u64() > Some(70));
    assert!(event(&events, "lock-updated").is_some());
    {
        let chip = phone.chip.lock().unwrap();
        assert!(chip.has(APPLICATION) && chip.loads == 1);
        // K_ph of docs/protocol.md section 12, enciphered on its way.
        let keys = &chip.keys;
        let blocks: Vec<&[u8]> = chip.stored.iter().filter_map(|(_, block)| tlv::find(block, 0xC0)).collect();
        assert_eq!(blocks[0][0], 1);
        let k_ph = keys.dek_decrypt(&blocks[0][1..]).unwrap();
        assert_eq!(hex::encode_upper(k_ph.as_slice()), "89EAF364BC46C03E4C9339DFF1ECB758");
    }
    {
        let chip = lock.chip.lock().unwrap();
        // The grant of the configuration, and the download's.
        assert!(
            chip.stored
                .iter()
                .all(|(to, block)| to.is_none() && tlv::find(block, 0xE5).is_some())
        );
        assert!(!chip.stored.is_empty());
    }
    // Again: accepted, found done, nothing loaded twice.
    let (_, events) = site.download(&Ask::new()).await;
    assert_eq!(events.last().unwrap()["event"], "installed", "{events:?}");
    assert_eq!(phone.chip.lock().unwrap().loads, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_is_away_is_waited_for_and_the_job_outlives_the_request_and_the_server() {
    let mut site = Site::start_with(|toml| toml.replace("download-ms = 3000", "download-ms = 200")).await;
    let (status, events) = site.download(&Ask::new()).await;
    assert_eq!(status, 200);
    assert!(event(&events, "waiting").is_some());
    let failed = events.last().unwrap();
    assert_eq!((&failed["event"], &failed["code"]), (&json!("failed"), &json!("timeout")));
    let job = events[0]["job"].as_i64().unwrap();
    site.restart().await;
    let phone = Agent::phone(&site, PHONE);
    assert_eq!(phone.work().await, 5, "opening, questions, three of work");
    assert_eq!(site.job_end(job).await["state"], "done");
    assert!(phone.chip.lock().unwrap().has(APPLICATION));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_repeated_and_no_step_is_done_twice() {
    let site = Site::start().await;
    let phone = Agent::phone(&site, PHONE);
    let (_, made) = site
        .post("/v1/push", &json!({"application": "cr", "to": {"phone": PHONE.to_string()}}))
        .await;
    let job = made["jobs"][0].as_i64().unwrap();
    let mut answer = phone.connect().await;
    let mut steps = 0;
    while answer.status == 200 {
        let response = phone.run(&answer.body).unwrap();
        let next = answer.next.clone().unwrap();
        let first = phone.step(&next, response.clone()).await;
        // The answer was lost: the same request again gets the same answer.
        let again = phone.step(&next, response).await;
        assert_eq!(first, again);
        answer = first;
        steps += 1;
    }
    assert_eq!((answer.status, steps), (204, 5));
    assert_eq!(site.job_end(job).await["state"], "done");
    assert_eq!(phone.chip.lock().unwrap().loads, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_out_of_order_and_other_sessions_are_refused() {
    let site = Site::start_with(|toml| {
        let chip = chip_keys_toml();
        format!("{toml}[[phones]]\nid = \"0202020202020202\"\n{chip}")
    })
    .await;
    let phone = Agent::phone(&site, PHONE);
    let first = phone.connect().await;
    assert_eq!(first.status, 204);
    let next = first.next.unwrap();
    let far = format!("{}7", next.strip_suffix('1').unwrap());
    assert_eq!(phone.step(&far, vec![]).await.status, 409);
    // A response to a script that nobody gave.
    assert_eq!(phone.step(&next, vec![0xAB, 0x00]).await.status, 409);
    assert_eq!(phone.step("/v1/admin/00/1", vec![]).await.status, 404);
    // Another agent with this one's session.
    let other = Agent::phone(&site, PhoneId([2; 8]));
    assert_eq!(other.step(&next, vec![]).await.status, 403);
    // A newer proof replaces the session: the old one is gone.
    assert_eq!(phone.connect().await.status, 204);
    assert_eq!(phone.step(&next, vec![]).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_that_are_wrong_replayed_or_not_registered() {
    let site = Site::start().await;
    let phone = Agent::phone(&site, PHONE);
    let challenge = phone.challenge().await;
    let good = authorization(&phone.key, &challenge, &phone.id);
    assert_eq!(phone.prove(&good).await.status, 204);
    assert_eq!(phone.prove(&good).await.status, 401, "replayed");
    let challenge = phone.challenge().await;
    assert_eq!(phone.prove(&authorization(&[0; 16], &challenge, &phone.id)).await.status, 403);
    // A phone that answers for another: with its own key, in the other's name.
    let stranger = Agent::phone(&site, PhoneId([9; 8]));
    let posing = Agent {
        from: phone.from.clone(),
        ..stranger.clone()
    };
    let challenge = posing.challenge().await;
    assert_eq!(posing.prove(&authorization(&stranger.key, &challenge, &phone.id)).await.status, 403);
    // The right key of a phone that is not registered.
    assert_eq!(stranger.connect().await.status, 403);
    assert_eq!(phone.prove("Tapdoor-CMAC nonsense").await.status, 400);
    assert_eq!(phone.prove("Bearer x").await.status, 400);
}

/// The power goes at every command of an installation in turn; the agent comes back, and in the end everything is there, loaded whole once.
#[tokio::test(flavor = "multi_thread")]
async fn torn_at_many_places_and_done_again() {
    let site = Site::start().await;
    // An entry of 80 commands; every seventh, and the last ones.
    for stop in (0..84).step_by(7).chain([77, 78, 79, 80]) {
        let phone = Agent::phone(&site, PHONE);
        let (_, made) = site
            .post("/v1/push", &json!({"application": "cr", "to": {"phone": PHONE.to_string()}}))
            .await;
        let job = made["jobs"][0].as_i64().unwrap();
        phone.chip.lock().unwrap().power = Some(stop);
        phone.work().await;
        phone.chip.lock().unwrap().reset();
        phone.work().await;
        let end = site.job_end(job).await;
        assert_eq!(end["state"], "done", "stopped at {stop}: {end}");
        let chip = phone.chip.lock().unwrap();
        assert!(chip.has(APPLICATION), "stopped at {stop}");
        assert_eq!(
            (chip.loads, chip.load_files.len(), chip.applications.len()),
            (1, 1, 1),
            "stopped at {stop}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_the_middle_of_a_job_ends_when_the_agent_is_silent() {
    let site = Site::start_with(|toml| toml.replace("session-ms = 2000", "session-ms = 100")).await;
    let phone = Agent::phone(&site, PHONE);
    let (_, made) = site
        .post("/v1/push", &json!({"application": "cr", "to": {"phone": PHONE.to_string()}}))
        .await;
    let job = made["jobs"][0].as_i64().unwrap();
    let answer = phone.connect().await;
    assert_eq!(answer.status, 200);
    let mut waited = 0;
    while site.get(&format!("/v1/jobs/{job}")).await.1["state"] != "queued" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        waited += 1;
        assert!(waited < 250, "the session lives on");
    }
    let response = phone.run(&answer.body).unwrap();
    assert_eq!(phone.step(&answer.next.unwrap(), response).await.status, 404);
    phone.work().await;
    assert_eq!(site.job_end(job).await["state"], "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chip_that_cannot_be_administered_fails_the_job_with_the_reason() {
    let site = Site::start().await;
    let phone = Agent::phone(&site, PHONE);
    phone.chip.lock().unwrap().keys = Keys::new(&[1; 16], &[1; 16], &[1; 16]).unwrap();
    let _running = phone.spawn();
    let (_, events) = site.download(&Ask::new()).await;
    let last = events.last().unwrap();
    assert_eq!(
        (&last["event"], &last["code"]),
        (&json!("failed"), &json!("chip-keys")),
        "{events:?}"
    );
    // Garbled answers are tried again a few times, not for ever.
    let (_, made) = site
        .post("/v1/push", &json!({"application": "cr", "to": {"lock": LOCK.to_string()}}))
        .await;
    assert_eq!(made["code"], "wrong-half");
    drop(_running);
    let (_, made) = site
        .post("/v1/push", &json!({"application": "cr", "to": {"phone": PHONE.to_string()}}))
        .await;
    let job = made["jobs"][0].as_i64().unwrap();
    let mut answer = phone.connect().await;
    let mut scripts = 0;
    while answer.status == 200 {
        answer = phone.step(&answer.next.unwrap(), vec![0xAB, 0x05, 1, 2]).await;
        scripts += 1;
        assert!(scripts < 20);
    }
    let end = site.job_end(job).await;
    assert_eq!(
        (&end["state"], &end["code"], &end["attempts"]),
        (&json!("failed"), &json!("garbled-answer"), &json!(5)),
        "{end}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_taken_back_empties_the_list_and_stops_the_download() {
    let site = Site::start_with(|toml| toml.replace("download-ms = 3000", "download-ms = 100")).await;
    let lock = Agent::lock(&site, LOCK);
    lock.work().await;
    assert!(tlv::find(&lock.chip.lock().unwrap().stored[0].1, 0xE5).is_some());
    // The phone is away, its job waits; then the grant goes.
    let (_, events) = site.download(&Ask::new()).await;
    let job = events[0]["job"].as_i64().unwrap();
    let (status, made) = site
        .post("/v1/revoke", &json!({"phone": PHONE.to_string(), "lock": LOCK.to_string()}))
        .await;
    assert_eq!((status, made["jobs"].as_array().unwrap().len()), (200, 1));
    lock.work().await;
    assert!(tlv::find(&lock.chip.lock().unwrap().stored.last().unwrap().1, 0xE6).is_some());
    let phone = Agent::phone(&site, PHONE);
    assert_eq!(phone.work().await, 0);
    assert_eq!(site.job_end(job).await["code"], "not-entitled");
    let response = site.client.post(format!("{}/v1/downloads", site.url)).json(&Ask::new().body());
    let (status, refused) = crate::site::answer(response).await;
    assert_eq!((status, &refused["code"]), (403, &json!("not-entitled")));
    assert_eq!(site.post("/v1/revoke", &json!({"phone": PHONE.to_string()})).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn window_jobs_wait_for_the_window_and_upgrades_keep_the_instance() {
    let mut site = Site::start_with(|toml| toml.replace("groups = [\"front\"]", "groups = [\"front\"]\nwindow = \"02:00-03:00\"")).await;
    // Noon.
    let now = i64::try_from(site.clock.now()).unwrap();
    site.clock.jump(86_400 - now.rem_euclid(86_400) + 12 * 3600);
    let lock = Agent::lock(&site, LOCK);
    lock.work().await;
    let body = json!({"application": "cr-lock", "to": {"system": "door"}, "when": "window"});
    let (_, made) = site.post("/v1/push", &body).await;
    let job = made["jobs"][0].as_i64().unwrap();
    assert_eq!(lock.work().await, 0, "not at noon");
    site.clock.jump(14 * 3600 + 1800);
    assert!(lock.work().await > 2, "at half past two");
    assert_eq!(site.job_end(job).await["state"], "done");
    assert!(lock.chip.lock().unwrap().has("f0544150444f4f5281"));
    // A new version, pushed at once; the instance stays.
    let upgrade = json!({"name": "cr-lock", "version": "1.1", "half": "lock", "elf": "f0544150444f4f52a1", "module": "f0544150444f4f52a102",
        "aid": "f0544150444f4f5281", "peer": APPLICATION, "load_file": hex::encode(load_file(0x5B, 3000))});
    assert_eq!(site.post("/v1/applications", &upgrade).await.0, 201);
    let (_, made) = site
        .post("/v1/push", &json!({"application": "cr-lock", "to": {"group": "front"}}))
        .await;
    lock.work().await;
    assert_eq!(site.job_end(made["jobs"][0].as_i64().unwrap()).await["state"], "done");
    assert_eq!(lock.chip.lock().unwrap().loads, 2);
    // Down again is refused.
    let body = json!({"application": "cr-lock", "version": "1.0", "to": {"lock": format!("mac:{}", crate::site::MAC)}});
    let (_, made) = site.post("/v1/push", &body).await;
    lock.work().await;
    assert_eq!(site.job_end(made["jobs"][0].as_i64().unwrap()).await["code"], "downgrade");
    // The whole list, then the load file away.
    let (_, made) = site
        .post("/v1/push", &json!({"list": true, "to": {"lock": LOCK.to_string()}}))
        .await;
    lock.work().await;
    assert_eq!(site.job_end(made["jobs"][0].as_i64().unwrap()).await["state"], "done");
    {
        let chip = lock.chip.lock().unwrap();
        let tail: Vec<bool> = chip
            .stored
            .iter()
            .rev()
            .take(2)
            .map(|(_, block)| tlv::find(block, 0xE5).is_some())
            .collect();
        assert_eq!(tail, [true, false], "E7, then the entry");
    }
    let (_, made) = site
        .post(
            "/v1/push",
            &json!({"delete": "f0544150444f4f52a1", "to": {"lock": LOCK.to_string()}}),
        )
        .await;
    lock.work().await;
    assert_eq!(site.job_end(made["jobs"][0].as_i64().unwrap()).await["state"], "done");
    assert!(!lock.chip.lock().unwrap().has("f0544150444f4f5281"));
    site.stop().await;
}
