//! The PN532's host link: whatever comes over a line, and whatever is in a frame. What can be read can be written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapdoor_protocol::pn532::{Answer, Code, Command, Frames, Incoming, MAX_FRAME, Modulation};

fuzz_target!(|data: &[u8]| {
    let mut frames = Frames::new();
    let (mut commands, mut answers) = (Vec::new(), Vec::new());
    for part in data.chunks(1 + data.len() % 13) {
        frames.push(part);
        while let Some(incoming) = frames.next_frame() {
            match incoming {
                Incoming::Command(content) => commands.push(content.to_vec()),
                Incoming::Answer(content) => answers.push(content.to_vec()),
                _ => {}
            }
        }
    }
    commands.push(data[..data.len().min(MAX_FRAME)].to_vec());
    answers.push(data[..data.len().min(MAX_FRAME)].to_vec());
    for content in commands {
        if let Ok(command) = Command::parse(&content) {
            let mut again = Vec::new();
            command.encode(&mut again);
            assert_eq!(Command::parse(&again), Ok(command));
        }
    }
    for content in answers {
        for code in Code::ALL {
            let Ok(answer) = Answer::parse(*code, &content) else { continue };
            for modulation in [Modulation::A106, Modulation::Felica212, Modulation::B106, Modulation::Jewel] {
                let _ = answer.targets(modulation, true);
                let _ = answer.targets(modulation, false);
            }
            let _ = answer.polled();
        }
    }
});
