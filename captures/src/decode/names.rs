//! Names of commands, files and frames.

use super::words::{Name, with_hex, with_number};

/// A command that needs no more than its header to be named (ISO/IEC 7816-4, GlobalPlatform, TS 102 221).
pub(super) fn command(cla: u8, ins: u8, p1: u8, p2: u8) -> Name {
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
            return with_hex("READ BINARY of short file ", &[p1 & 0x1F]).into();
        }
        (0xB0 | 0xB1, _) => {
            return with_number("READ BINARY from ", u16::from_be_bytes([p1, p2]).into(), "");
        }
        (0xB2 | 0xB3, _) => return with_number("READ RECORD ", p1.into(), ""),
        (0xC0, _) => "GET RESPONSE",
        (0xC2 | 0xC3, _) => "ENVELOPE",
        (0xCA | 0xCB, _) => return with_hex("GET DATA ", &[p1, p2]).into(),
        (0xD0 | 0xD1, _) => "WRITE BINARY",
        (0xD6 | 0xD7, _) => "UPDATE BINARY",
        (0xD8, true) => "PUT KEY",
        (0xDA | 0xDB, _) => return with_hex("PUT DATA ", &[p1, p2]).into(),
        (0xDC | 0xDD, _) => return with_number("UPDATE RECORD ", p1.into(), ""),
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
        _ => return format!("command {cla:02x} {ins:02x} {p1:02x} {p2:02x}").into(),
    };
    name.into()
}

/// `, NAME` for the last file of a path, or nothing.
pub(super) fn file(path: &[u8]) -> &'static str {
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
    name.unwrap_or_default()
}

/// A command of DESFire in its ISO/IEC 7816-4 wrapping, class 90.
pub(super) fn desfire(ins: u8) -> Option<&'static str> {
    Some(match ins {
        0x0A => "Authenticate",
        0x1A => "AuthenticateISO",
        0xAA => "AuthenticateAES",
        0x71 => "AuthenticateEV2First",
        0x77 => "AuthenticateEV2NonFirst",
        0xAF => "AdditionalFrame",
        0x5A => "SelectApplication",
        0x60 => "GetVersion",
        0x6A => "GetApplicationIDs",
        0x6F => "GetFileIDs",
        0x45 => "GetKeySettings",
        0x64 => "GetKeyVersion",
        0x51 => "GetCardUID",
        0x6E => "FreeMemory",
        0xF5 => "GetFileSettings",
        0xBD => "ReadData",
        0x3D => "WriteData",
        0x6C => "GetValue",
        0xBB => "ReadRecords",
        0xC7 => "CommitTransaction",
        _ => return None,
    })
}

/// A command to the PN532, or its answer (PN532 user manual 7).
pub(super) fn pn532(bytes: &[u8]) -> Name {
    let (answer, code, rest) = match bytes {
        [0xD4, code, rest @ ..] => (false, *code, rest),
        [0xD5, code, rest @ ..] => (true, code.wrapping_sub(1), rest),
        [0x7F, ..] => return "error frame".into(),
        _ => return with_number("", bytes.len() as u64, " bytes"),
    };
    let name = match code {
        0x00 => "Diagnose",
        0x02 => "GetFirmwareVersion",
        0x04 => "GetGeneralStatus",
        0x06 => "ReadRegister",
        0x08 => "WriteRegister",
        0x0C => "ReadGPIO",
        0x0E => "WriteGPIO",
        0x10 => "SetSerialBaudRate",
        0x12 => "SetParameters",
        0x14 => "SAMConfiguration",
        0x16 => "PowerDown",
        0x18 => "AlparCommandForTDA",
        0x32 => "RFConfiguration",
        0x40 => "InDataExchange",
        0x42 => "InCommunicateThru",
        0x44 => "InDeselect",
        0x46 => "InJumpForPSL",
        0x4A => "InListPassiveTarget",
        0x4E => "InPSL",
        0x50 => "InATR",
        0x52 => "InRelease",
        0x54 => "InSelect",
        0x56 => "InJumpForDEP",
        0x58 => "RFRegulationTest",
        0x60 => "InAutoPoll",
        0x86 => "TgGetData",
        0x88 => "TgGetInitiatorCommand",
        0x8A => "TgGetTargetStatus",
        0x8C => "TgInitAsTarget",
        0x8E => "TgSetData",
        0x90 => "TgResponseToInitiator",
        0x92 => "TgSetGeneralBytes",
        0x94 => "TgSetMetaData",
        _ => return with_hex("PN532 command ", &[code]).into(),
    };
    // The status byte stands first in the answers to what goes over the air.
    match (answer, code, rest) {
        (true, 0x40 | 0x42 | 0x86 | 0x88 | 0x8E | 0x90, [status, ..]) if status & 0x3F != 0 => {
            format!("{name} answer, {}", pn532_error(status & 0x3F)).into()
        }
        (true, 0x4A, [0, ..]) => format!("{name} answer, no target").into(),
        (true, ..) => format!("{name} answer").into(),
        (false, ..) => name.into(),
    }
}

fn pn532_error(code: u8) -> String {
    let name = match code {
        0x01 => "time-out",
        0x02 => "CRC error",
        0x03 => "parity error",
        0x04 => "wrong bit count",
        0x05 => "framing error",
        0x06 => "bit collision",
        0x07 => "buffer too small",
        0x09 => "RF buffer overflow",
        0x0A => "field not switched on in time",
        0x0B => "RF protocol error",
        0x0D => "temperature",
        0x0E => "internal buffer overflow",
        0x10 => "invalid parameter",
        0x13 => "wrong data format",
        0x14 => "authentication error",
        0x23 => "wrong UID check byte",
        0x25 => "invalid device state",
        0x26 => "operation not allowed",
        0x27 => "command not acceptable",
        0x29 => "target released by the initiator",
        0x2A => "another card",
        0x2B => "card gone",
        0x2C => "NFCID3 mismatch",
        0x2D => "over-current",
        0x2E => "NAD missing",
        _ => return format!("error {code:02x}"),
    };
    name.into()
}

/// A CCID message (USB CCID 1.1, 6).
pub(super) fn ccid(bytes: &[u8]) -> Name {
    let name = match bytes.first() {
        Some(0x62) => "IccPowerOn",
        Some(0x63) => "IccPowerOff",
        Some(0x65) => "GetSlotStatus",
        Some(0x6B) => "Escape",
        Some(0x6F) => "XfrBlock",
        Some(0x80) => "DataBlock",
        Some(0x81) => "SlotStatus",
        Some(0x83) => "Escape answer",
        _ => return with_number("", bytes.len() as u64, " bytes"),
    };
    name.into()
}

/// An NCI packet (NFC Forum NCI 2.0).
pub(super) fn nci(bytes: &[u8]) -> Name {
    let [first, second, ..] = bytes else {
        return with_number("", bytes.len() as u64, " bytes");
    };
    let kind = match first >> 5 {
        0 => return with_number("data on connection ", (first & 15).into(), ""),
        1 => "CMD",
        2 => "RSP",
        3 => "NTF",
        _ => return with_number("", bytes.len() as u64, " bytes"),
    };
    let name = match (first & 15, second & 0x3F) {
        (0, 0x00) => "CORE_RESET",
        (0, 0x01) => "CORE_INIT",
        (0, 0x02) => "CORE_SET_CONFIG",
        (0, 0x03) => "CORE_GET_CONFIG",
        (0, 0x04) => "CORE_CONN_CREATE",
        (0, 0x05) => "CORE_CONN_CLOSE",
        (0, 0x06) => "CORE_CONN_CREDITS",
        (0, 0x07) => "CORE_GENERIC_ERROR",
        (0, 0x08) => "CORE_INTERFACE_ERROR",
        (0, 0x09) => "CORE_SET_POWER_SUB_STATE",
        (1, 0x00) => "RF_DISCOVER_MAP",
        (1, 0x01) => "RF_SET_LISTEN_MODE_ROUTING",
        (1, 0x02) => "RF_GET_LISTEN_MODE_ROUTING",
        (1, 0x03) => "RF_DISCOVER",
        (1, 0x04) => "RF_DISCOVER_SELECT",
        (1, 0x05) => "RF_INTF_ACTIVATED",
        (1, 0x06) => "RF_DEACTIVATE",
        (1, 0x07) => "RF_FIELD_INFO",
        (1, 0x08) => "RF_T3T_POLLING",
        (1, 0x09) => "RF_NFCEE_ACTION",
        (1, 0x0A) => "RF_NFCEE_DISCOVERY_REQ",
        (1, 0x0B) => "RF_PARAMETER_UPDATE",
        (2, 0x00) => "NFCEE_DISCOVER",
        (2, 0x01) => "NFCEE_MODE_SET",
        (group, opcode) => return format!("NCI {group:x}/{opcode:02x}_{kind}").into(),
    };
    format!("{name}_{kind}").into()
}
