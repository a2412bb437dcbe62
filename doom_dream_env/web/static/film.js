// A film of the picture, made by the browser and saved as a file.

const SCALE = 4; // 640x480
const TYPES = ["video/mp4;codecs=avc1.42E01E", "video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"];

export class Film {
  /** Can this browser make films? */
  static get possible() {
    return Boolean(globalThis.MediaRecorder && HTMLCanvasElement.prototype.captureStream && Film.type);
  }

  static get type() {
    return TYPES.find((type) => MediaRecorder.isTypeSupported(type));
  }

  constructor(picture, framesPerSecond) {
    this.canvas = document.createElement("canvas");
    this.canvas.width = picture.width * SCALE;
    this.canvas.height = picture.height * SCALE;
    this.context = this.canvas.getContext("2d");
    this.context.imageSmoothingEnabled = false;
    this.add(picture);
    this.parts = [];
    this.recorder = new MediaRecorder(this.canvas.captureStream(framesPerSecond), {
      mimeType: Film.type,
      videoBitsPerSecond: 4_000_000,
    });
    this.recorder.ondataavailable = ({ data }) => data.size && this.parts.push(data);
    this.recorder.start(1000); // a part each second: little is lost if the page goes
  }

  add(picture) {
    this.context.drawImage(picture, 0, 0, this.canvas.width, this.canvas.height);
  }

  /** End it; the film as a Blob. */
  async end() {
    await new Promise((resolve) => {
      this.recorder.onstop = resolve;
      this.recorder.stop();
    });
    for (const track of this.recorder.stream.getTracks()) track.stop();
    return new Blob(this.parts, { type: this.recorder.mimeType.split(";")[0] });
  }
}

/** Let the browser save a Blob under a name. */
export function saveAs(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
