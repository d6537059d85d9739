// The ACR122U as npm's nfc-pcsc sees it: it takes a reader for one by its name, and then speaks to it as its library does.
//
//   node nfc_pcsc.js FRAGMENT AID
//
// Waits for a card at the reader whose name contains FRAGMENT; prints one JSON object a line, and ends after the first card.
'use strict';

const { NFC } = require('nfc-pcsc');

const [fragment, aid] = process.argv.slice(2);
const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const fail = (error) => {
    say({ event: 'error', detail: String(error && error.message ? error.message : error) });
    process.exit(1);
};
const nfc = new NFC();

setTimeout(() => fail('no card within 20 s'), 20000).unref();

nfc.on('error', fail);
nfc.on('reader', (reader) => {
    if (!reader.name.includes(fragment)) {
        return;
    }
    say({ event: 'reader', name: reader.name, class: reader.constructor.name });
    reader.aid = aid;
    reader.on('error', fail);
    reader.on('card', async (card) => {
        try {
            say({ event: 'card', type: card.type, atr: card.atr.toString('hex'), data: card.data.toString('hex') });
            const uid = await reader.transmit(Buffer.from('ffca000000', 'hex'), 40);
            say({ event: 'uid', data: uid.toString('hex') });
            // By escape, which vpcd does not pass on. An answer that is not 9000 makes it throw.
            if (!reader.name.includes('PICC Interface')) {
                await reader.setBuzzerOutput(false);
                say({ event: 'buzzer' });
            }
            process.exit(0);
        } catch (error) {
            fail(error);
        }
    });
});
