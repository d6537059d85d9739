//! Many at once: no job lost, none done twice.

use serde_json::json;
use tapdoor_protocol::ids::{PhoneId, luhn};

use crate::agent::Agent;
use crate::site::{Ask, LOCK, PHONE, Site, chip_keys_toml};

fn phone(n: u64) -> (PhoneId, String) {
    let body = format!("001017{n:08}");
    (PhoneId((n + 1).to_be_bytes()), format!("{body}{}", luhn(&body).unwrap()))
}

/// 24 phones, each downloaded to twice with a deletion between, 8 at a time.
#[tokio::test(flavor = "multi_thread")]
async fn many_phones_at_once() {
    const PHONES: u64 = 24;
    let site = Site::start_with(|toml| {
        let mut toml = toml
            .replace("downloads-per-minute = 60", "downloads-per-minute = 6000")
            .replace("download-ms = 3000", "download-ms = 30000")
            .replace("body-ms = 500", "body-ms = 5000")
            .replace("header-ms = 500", "header-ms = 5000");
        for n in 0..PHONES {
            let (id, imei) = phone(n);
            let chip = chip_keys_toml();
            toml += &format!("[[phones]]\nid = \"{id}\"\nimei = \"{imei}\"\n{chip}[[grants]]\nphone = \"{id}\"\nlock = \"{LOCK}\"\n");
        }
        toml
    })
    .await;
    let agents: Vec<Agent> = (0..PHONES).map(|n| Agent::phone(&site, phone(n).0)).collect();
    // The site's own phone waits as well, and gets nothing but the deletions.
    let other = Agent::phone(&site, PHONE);
    let _running: Vec<_> = agents.iter().chain([&other]).map(Agent::spawn).collect();
    let lock = Agent::lock(&site, LOCK);
    let _lock = lock.spawn();
    for round in 1..=2 {
        let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(8));
        let mut downloads = Vec::new();
        for n in 0..PHONES {
            let (id, imei) = phone(n);
            let ask = Ask {
                phone: id,
                digits: imei,
                ..Ask::new()
            };
            let (gate, client, url) = (gate.clone(), site.client.clone(), site.url.clone());
            downloads.push(tokio::spawn(async move {
                let _turn = gate.acquire().await.unwrap();
                let response = client.post(format!("{url}/v1/downloads")).json(&ask.body()).send().await.unwrap();
                response.text().await.unwrap()
            }));
        }
        for download in downloads {
            let text = download.await.unwrap();
            assert!(text.contains("\"installed\"") && text.contains("\"lock-updated\""), "{text}");
        }
        for agent in &agents {
            assert_eq!(agent.chip.lock().unwrap().loads, round);
        }
        let (_, made) = site
            .post("/v1/push", &json!({"delete": "f0544150444f4f52a1", "to": {"system": "door"}}))
            .await;
        for job in made["jobs"].as_array().unwrap() {
            let end = site.job_end(job.as_i64().unwrap()).await;
            assert_eq!(end["state"], "done", "{end}");
        }
    }
    let (_, status) = site.get("/v1/status").await;
    assert_eq!(
        (&status["jobs"]["queued"], &status["jobs"]["running"], &status["jobs"]["failed"]),
        (&json!(0), &json!(0), &json!(0)),
        "{status}"
    );
    assert_eq!(status["connected"], json!({"phones": PHONES + 1, "locks": 1}));
    assert_eq!(other.chip.lock().unwrap().loads, 0);
    assert!(lock.chip.lock().unwrap().stored.len() as u64 >= PHONES);
}
