//! Names of commands, files and frames.

/// A command that needs no more than its header to be named (ISO/IEC 7816-4, GlobalPlatform, TS 102 221).
pub(super) fn command(cla: u8, ins: u8, p1: u8, p2: u8) -> String {
    let proprietary = cla & 0x80 != 0 && cla != 0xA0;
    let name = match (ins, proprietary) {
        (0x0E | 0x0F, _) => "ERASE BINARY",
        (0x10, true) => "TERMINAL PROFILE",
        (0x12, true) => "FETCH",
        (0x14, true) => "TERMINAL RESPONSE",
        (0x20 | 0x21, _) => "VERIFY",
        (0x22, _) => "MANAGE SECURITY ENVIRONMENT",
        (0x24 | 0x25, _) => "CHANGE REFERENCE DATA",
        (0x26, _) => "DISABLE VERIFICATION",
        (0x28, _) => "ENABLE VERIFICATION",
        (0x2A, _) => "PERFORM SECURITY OPERATION",
        (0x2C | 0x2D, _) => "RESET RETRY COUNTER",
        (0x3C, true) => "CONTROL FLOW",
        (0x50, true) => "INITIALIZE UPDATE",
        (0x70, _) => "MANAGE CHANNEL",
        (0x78, _) => "GET IDENTITY",
        (0x82, _) => "EXTERNAL AUTHENTICATE",
        (0x84, _) => "GET CHALLENGE",
        (0x86 | 0x87, _) => "GENERAL AUTHENTICATE",
        (0x88 | 0x89, _) => "AUTHENTICATE",
        (0xA2, _) => "SEARCH RECORD",
        (0xA4, _) => "SELECT",
        (0xB0 | 0xB1, _) if p1 & 0x80 != 0 => {
            return format!("READ BINARY of short file {:02x}", p1 & 0x1F);
        }
        (0xB0 | 0xB1, _) => {
            return format!("READ BINARY from {}", u16::from_be_bytes([p1, p2]));
        }
        (0xB2 | 0xB3, _) => return format!("READ RECORD {p1}"),
        (0xC0, _) => "GET RESPONSE",
        (0xC2 | 0xC3, _) => "ENVELOPE",
        (0xCA | 0xCB, _) => return format!("GET DATA {p1:02x}{p2:02x}"),
        (0xD0 | 0xD1, _) => "WRITE BINARY",
        (0xD6 | 0xD7, _) => "UPDATE BINARY",
        (0xD8, true) => "PUT KEY",
        (0xDA | 0xDB, _) => return format!("PUT DATA {p1:02x}{p2:02x}"),
        (0xDC | 0xDD, _) => return format!("UPDATE RECORD {p1}"),
        (0xE0, _) => "CREATE FILE",
        (0xE2, true) => "STORE DATA",
        (0xE2, false) => "APPEND RECORD",
        (0xE4, true) => "DELETE",
        (0xE4, false) => "DELETE FILE",
        (0xE6, true) => "INSTALL",
        (0xE8, true) => "LOAD",
        (0xF0, true) => "SET STATUS",
        (0xF2, true) => "GET STATUS",
        (0xF2, false) => "STATUS",
        _ => return format!("command {cla:02x} {ins:02x} {p1:02x} {p2:02x}"),
    };
    name.to_owned()
}

/// `, NAME` for the last file of a path, or nothing.
pub(super) fn file(path: &[u8]) -> String {
    let name = path.last_chunk::<2>().map(|id| match u16::from_be_bytes(*id) {
        0x3F00 => ", MF",
        0x7FFF => ", ADF_USIM",
        0x2F00 => ", EF_DIR",
        0x2FE2 => ", EF_ICCID",
        0x6F07 => ", EF_IMSI",
        0x6F08 => ", EF_Keys",
        0x6F40 => ", EF_MSISDN",
        0x6FAD => ", EF_AD",
        _ => "",
    });
    name.unwrap_or_default().to_owned()
}

/// A frame in the radio field, by its first bytes.
pub(super) fn frame(bytes: &[u8]) -> String {
    let name = match bytes {
        [0x26] => "REQA",
        [0x52] => "WUPA",
        [0x93, 0x20] => "anticollision, level 1",
        [0x95, 0x20] => "anticollision, level 2",
        [0x97, 0x20] => "anticollision, level 3",
        [0x93 | 0x95 | 0x97, 0x70, ..] => "SELECT of a UID",
        [0x50, 0x00, ..] => "HLTA",
        _ => return format!("{} bytes", bytes.len()),
    };
    name.to_owned()
}
