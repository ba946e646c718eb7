/** Sample formats small enough to decode here: G.711 (ITU-T G.711), L16 and L24 (RFC 3551, RFC 3190). */

const BIAS = 0x84;

function muLaw(code: number): number {
  const u = ~code & 0xff;
  const magnitude = (((u & 0x0f) << 3) + BIAS) << ((u & 0x70) >> 4);
  return ((u & 0x80 ? BIAS - magnitude : magnitude - BIAS) / 32768) as number;
}

function aLaw(code: number): number {
  const a = code ^ 0x55;
  const segment = (a & 0x70) >> 4;
  let magnitude = (a & 0x0f) << 4;
  magnitude += segment === 0 ? 8 : 0x108;
  if (segment > 1) magnitude <<= segment - 1;
  return (a & 0x80 ? magnitude : -magnitude) / 32768;
}

const MU_LAW = Float32Array.from({ length: 256 }, (_, i) => muLaw(i));
const A_LAW = Float32Array.from({ length: 256 }, (_, i) => aLaw(i));

export const SAMPLE_CODECS: ReadonlySet<string> = new Set(["pcmu", "pcma", "l16", "l24"]);

/** Decode interleaved samples to one array a channel; a part of a last sample is left out. */
export function decodeSamples(
  codec: string,
  data: Uint8Array,
  channels: number,
): Float32Array<ArrayBuffer>[] {
  const width = codec === "l16" ? 2 : codec === "l24" ? 3 : 1;
  const count = Math.floor(data.length / (width * channels));
  const planes = Array.from({ length: channels }, () => new Float32Array(count));
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < channels; c++) {
      const at = (i * channels + c) * width;
      let sample: number;
      if (codec === "l16") sample = view.getInt16(at) / 0x8000;
      else if (codec === "l24") {
        sample = ((view.getInt16(at) << 8) | view.getUint8(at + 2)) / 0x800000;
      } else sample = (codec === "pcmu" ? MU_LAW : A_LAW)[view.getUint8(at)] ?? 0;
      const plane = planes[c];
      if (plane) plane[i] = sample;
    }
  }
  return planes;
}
