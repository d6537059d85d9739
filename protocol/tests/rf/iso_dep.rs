use proptest::prelude::*;
use tapdoor_protocol::rf::crc;
use tapdoor_protocol::rf::frame::{BitRate, Technology};
use tapdoor_protocol::rf::iso14443::card::Card;
use tapdoor_protocol::rf::iso14443::dep::activate::{Activate, Wishes};
use tapdoor_protocol::rf::iso14443::dep::ats::{Ats, Rates};
use tapdoor_protocol::rf::iso14443::dep::frame_size;
use tapdoor_protocol::rf::iso14443::dep::pcd::Pcd;
use tapdoor_protocol::rf::iso14443::type_a::pcd::{Request, Select};
use tapdoor_protocol::rf::iso14443::type_a::{Atqa, Sak, Uid};
use tapdoor_protocol::rf::time::Ticks;

use crate::air::{Air, Fault, Seen, Terminal};
use crate::{unhex, vectors};

pub fn terminal(ats: Ats) -> Terminal {
    let uid = Uid::new(&[8, 1, 2, 3]).unwrap();
    Terminal::new(Card::type_a(uid, Atqa::of(&uid), Sak(0x20), ats))
}

fn ats(fsci: u8) -> Ats {
    Ats {
        fsci,
        rates: Rates::ALL,
        nad: true,
        ..Ats::default()
    }
}

pub fn activate(air: &mut Air<'_>, wishes: Wishes) -> Pcd {
    air.run(&mut Select::new(Request::Wupa)).unwrap().unwrap();
    let (_, parameters) = air.run(&mut Activate::new(wishes)).unwrap();
    air.seen.clear();
    air.exchanges = 0;
    Pcd::new(parameters)
}

/// Frames with their checksums, in hexadecimal, commands marked `>`.
fn shown(seen: &[Seen]) -> Vec<String> {
    let show = |frame: &Seen| {
        let mut data = frame.data.clone();
        crc::append(Technology::A, &mut data);
        format!("{}{}", if frame.out { ">" } else { "<" }, hex::encode(data))
    };
    seen.iter().map(show).collect()
}

fn say(air: &mut Air<'_>, pcd: &mut Pcd, command: &[u8]) -> Vec<u8> {
    let mut response = Vec::new();
    air.run(&mut pcd.transceive(command, &mut response)).unwrap();
    response
}

#[test]
fn a_published_session() {
    let vectors = vectors();
    let exchanges = vectors["iso_dep"]["example_session"]["exchanges"].as_array().unwrap();
    let mut terminal = terminal(ats(8));
    terminal.responses = exchanges.iter().map(|e| unhex(&e["rx"])[1..].to_vec()).collect();
    let mut air = Air::new(vec![&mut terminal]);
    let mut pcd = activate(&mut air, Wishes::default());
    let mut expected = Vec::new();
    for exchange in exchanges {
        say(&mut air, &mut pcd, &unhex(&exchange["tx"])[1..]);
        expected.push(format!(">{}", exchange["tx_frame"].as_str().unwrap()));
        expected.push(format!("<{}", exchange["rx_frame"].as_str().unwrap()));
    }
    assert_eq!(shown(&air.seen), expected);
    air.seen.clear();
    air.run(&mut pcd.deselect()).unwrap();
    let deselect = &vectors["iso_dep"]["deselect"];
    assert_eq!(
        shown(&air.seen),
        [
            format!(">{}", deselect["tx"].as_str().unwrap()),
            format!("<{}", deselect["rx"].as_str().unwrap())
        ]
    );
    drop(air);
    assert_eq!(terminal.deselected, 1);
}

#[test]
fn published_presence_check() {
    let vectors = vectors();
    let check = &vectors["iso_dep"]["presence_check"];
    let mut terminal = terminal(ats(8));
    let mut air = Air::new(vec![&mut terminal]);
    let mut pcd = activate(&mut air, Wishes::default());
    for _ in 0..2 {
        air.run(&mut pcd.presence_check()).unwrap();
        assert_eq!((&air.seen[0].data, &air.seen[1].data), (&unhex(&check["tx"]), &unhex(&check["rx"])));
    }
    assert_eq!(say(&mut air, &mut pcd, &[1, 2, 3]), [1, 2, 3]);
    air.run(&mut pcd.presence_check()).unwrap();
    air.fault = Box::new(|_| Some(Fault::Drop));
    assert!(air.run(&mut pcd.presence_check()).is_err());
}

#[test]
fn published_chaining_waiting_and_retransmission() {
    let vectors = vectors();
    let dep = &vectors["iso_dep"];
    let frames = |value: &serde_json::Value| -> Vec<String> {
        let frames = value["exchanges"].as_array().unwrap().iter();
        let frames = frames.map(|e| {
            let mark = if e["dir"] == "PCD->PICC" { ">" } else { "<" };
            format!("{mark}{}", e["frame"].as_str().unwrap())
        });
        frames.collect()
    };
    // Chaining with frames of 16 bytes.
    let chaining = &dep["chaining_computed"][0];
    let mut card = terminal(ats(0));
    card.responses = vec![vec![0x90, 0x00]];
    let mut air = Air::new(vec![&mut card]);
    let mut pcd = activate(&mut air, Wishes::default());
    say(&mut air, &mut pcd, &unhex(&chaining["capdu"]));
    assert_eq!(shown(&air.seen), frames(chaining));
    // Work that needs ten times the waiting time.
    let mut card = terminal(ats(8));
    card.responses = vec![vec![0x90, 0x00]];
    card.work = Ticks(65_536 / 4 * 3 + 65_536 * 31 / 4);
    let mut air = Air::new(vec![&mut card]);
    let mut pcd = activate(&mut air, Wishes::default());
    say(&mut air, &mut pcd, &unhex(&serde_json::json!("00b0000000")));
    assert_eq!(shown(&air.seen), frames(&dep["wtx_example"]));
    drop(air);
    let worked: u64 = card.delays[4..].iter().map(|delay| delay.0).sum();
    assert_eq!(worked, card.work.0);
    // An answer that is damaged.
    let mut card = terminal(ats(8));
    card.responses = vec![unhex(&serde_json::json!("9f7f0102039000"))];
    let mut air = Air::new(vec![&mut card]);
    let mut pcd = activate(&mut air, Wishes::default());
    air.fault = Box::new(|n| (n == 1).then_some(Fault::Corrupt));
    say(&mut air, &mut pcd, &unhex(&serde_json::json!("80ca9f7f00")));
    let mut expected = frames(&dep["retransmission_example"]);
    expected[1] = expected[3].clone();
    assert_eq!(shown(&air.seen), expected);
}

#[test]
fn rates_are_agreed_on_and_fall_back() {
    for (rates, wanted, send, receive) in [
        (Rates::ALL, BitRate::Kbps848, BitRate::Kbps848, BitRate::Kbps848),
        (Rates::ALL, BitRate::Kbps424, BitRate::Kbps424, BitRate::Kbps424),
        (Rates(0x31), BitRate::Kbps848, BitRate::Kbps212, BitRate::Kbps424),
        (Rates(0xB1), BitRate::Kbps848, BitRate::Kbps212, BitRate::Kbps212),
        (Rates(0), BitRate::Kbps848, BitRate::Kbps106, BitRate::Kbps106),
        (Rates(0x7F), BitRate::Kbps848, BitRate::Kbps106, BitRate::Kbps106),
    ] {
        let mut card = terminal(Ats { rates, ..ats(8) });
        let mut air = Air::new(vec![&mut card]);
        let wishes = Wishes {
            rate: wanted,
            ..Wishes::default()
        };
        let mut pcd = activate(&mut air, wishes);
        assert_eq!((pcd.parameters().send, pcd.parameters().receive), (send, receive));
        assert_eq!(say(&mut air, &mut pcd, &[9; 300]), [9; 300]);
        air.run(&mut pcd.deselect()).unwrap();
    }
}

#[test]
fn a_lost_answer_to_rats_ends_in_an_error_and_the_next_round_works() {
    let mut card = terminal(ats(8));
    let mut air = Air::new(vec![&mut card]);
    air.run(&mut Select::new(Request::Wupa)).unwrap().unwrap();
    air.fault = Box::new(|_| Some(Fault::Drop));
    assert!(air.run(&mut Activate::new(Wishes::default())).is_err());
    air.fault = Box::new(|_| None);
    // Deselected, it can be woken.
    air.run(&mut Pcd::new(tapdoor_protocol::rf::iso14443::dep::Parameters::new(Technology::A)).deselect())
        .ok();
    let mut pcd = activate(&mut air, Wishes::default());
    assert_eq!(say(&mut air, &mut pcd, &[1]), [1]);
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::collection::vec(any::<u8>(), 0..max)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Every combination of frame sizes, numbers and addresses; faults no closer than one in four frames are always recovered from, and
    /// the card sees every command once.
    #[test]
    fn apdus_come_through(
        fsci in 0u8..9,
        fsdi in 0u8..9,
        cid in proptest::option::of(0u8..15),
        nad in proptest::option::of(any::<u8>()),
        exchanges in proptest::collection::vec((bytes(700), bytes(700)), 1..4),
        gaps in proptest::collection::vec((4usize..20, any::<bool>()), 0..60),
    ) {
        let mut card = terminal(ats(fsci));
        card.responses = exchanges.iter().map(|(_, response)| response.clone()).collect();
        let mut air = Air::new(vec![&mut card]);
        let mut pcd = activate(&mut air, Wishes { fsdi, cid, nad, ..Wishes::default() });
        let mut at = 0;
        let faults: Vec<_> = gaps.iter().map(|(gap, corrupt)| {
            at += gap;
            (at, if *corrupt { Fault::Corrupt } else { Fault::Drop })
        }).collect();
        air.fault = Box::new(move |n| faults.iter().find(|(at, _)| *at == n).map(|(_, fault)| *fault));
        for (command, response) in &exchanges {
            prop_assert_eq!(&say(&mut air, &mut pcd, command), response);
        }
        for seen in &air.seen {
            let most = frame_size(if seen.out { fsci } else { fsdi });
            prop_assert!(seen.data.len() + crc::LEN <= most);
            prop_assert_eq!(seen.data[0] & 8 != 0, cid.is_some());
        }
        air.fault = Box::new(|_| None);
        prop_assert!(air.run(&mut pcd.presence_check()).is_ok());
        prop_assert!(air.run(&mut pcd.deselect()).is_ok());
        drop(air);
        prop_assert_eq!(card.commands, exchanges.into_iter().map(|(command, _)| command).collect::<Vec<_>>());
        prop_assert_eq!(card.deselected, 1);
    }

    /// Whatever is lost: it ends, and what is said to have come through has.
    #[test]
    fn any_faults_end(
        fsci in 0u8..9,
        command in bytes(300),
        response in bytes(300),
        faults in proptest::collection::vec(proptest::option::weighted(0.4, any::<bool>()), 0..200),
    ) {
        let mut card = terminal(ats(fsci));
        card.responses = vec![response.clone()];
        let mut air = Air::new(vec![&mut card]);
        let mut pcd = activate(&mut air, Wishes::default());
        air.fault = Box::new(move |n| match faults.get(n) {
            Some(Some(true)) => Some(Fault::Corrupt),
            Some(Some(false)) => Some(Fault::Drop),
            _ => None,
        });
        let mut got = Vec::new();
        let outcome = air.run(&mut pcd.transceive(&command, &mut got));
        prop_assert!(air.exchanges < 400);
        if outcome.is_ok() {
            prop_assert_eq!(&got, &response);
        } else {
            prop_assert!(got.is_empty());
        }
        drop(air);
        prop_assert!(card.commands.len() <= 1);
    }
}
