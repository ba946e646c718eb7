/** What to write into other programs so that they send to a channel. Pure. */

/** Empty where the server does not take it. */
export interface EncoderLines {
  /** OBS: Settings, Stream, “Custom”. */
  readonly obsServer: string;
  readonly obsKey: string;
  readonly ffmpeg: string;
  readonly gstreamer: string;
}

/** A keyframe a second, and no pictures out of order: viewers begin soon, and by WebRTC at all. */
const FFMPEG = "-c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -g 30";
const GSTREAMER =
  "gst-launch-1.0 v4l2src ! videoconvert ! x264enc tune=zerolatency key-int-max=30 ! h264parse !";

/** @param urls the channel's, empty where the server has none */
export function encoderLines(
  name: string,
  key: string,
  urls: { readonly rtmp: string; readonly rtsp: string },
): EncoderLines {
  const obs = urls.rtmp ? { obsServer: urls.rtmp, obsKey: `${name}?key=${key}` } : NO_OBS;
  if (urls.rtsp) {
    // RTSP carries Opus, which browsers get by WebRTC as it is; RTMP's AAC they do not.
    const url = urls.rtsp.replace("rtsp://", `rtsp://${name}:${key}@`);
    return {
      ...obs,
      ffmpeg: `ffmpeg -re -i FILE ${FFMPEG} -c:a libopus -f rtsp -rtsp_transport tcp '${url}'`,
      gstreamer: `${GSTREAMER} rtspclientsink protocols=tcp location='${url}'`,
    };
  }
  if (!urls.rtmp) return { ...obs, ffmpeg: "", gstreamer: "" };
  const url = `${urls.rtmp}/${name}?key=${key}`;
  return {
    ...obs,
    ffmpeg: `ffmpeg -re -i FILE ${FFMPEG} -c:a aac -f flv '${url}'`,
    gstreamer: `${GSTREAMER} flvmux streamable=true ! rtmp2sink location='${url}'`,
  };
}

const NO_OBS = { obsServer: "", obsKey: "" };
