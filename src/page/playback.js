// What all players do alike: they play, pause, follow the live end and change speed, with a video element. A player adds
// `edge`, `distance` and `seekTo`.

export class Playback extends EventTarget {
  constructor(video) {
    super();
    this.video = video;
    this.speed = 1;
    this.wantsPlay = false;
    this.isFollowing = false;
    this.target = null; // where it is to be: `{time, isJump}`
    this.state = 'idle';
  }

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  setState(state, text = '') {
    if (this.state === state && this.text === text) return;
    [this.state, this.text] = [state, text];
    this.emit('state');
  }

  get isPlaying() {
    return this.wantsPlay;
  }

  seek(time) {
    this.follow(false);
    this.seekTo(time);
  }

  goLive() {
    this.setSpeed(1);
    this.follow(true);
    this.seekTo(this.edge - this.distance);
    this.play();
  }

  follow(isFollowing) {
    if (this.isFollowing === isFollowing) return;
    this.isFollowing = isFollowing;
    this.emit('state');
  }

  play() {
    this.wantsPlay = true;
    this.emit('state');
    if (!this.target) this.start();
  }

  // Starts the element. Where a page may not make noise unasked, without sound.
  async start() {
    this.video.playbackRate = this.speed;
    try {
      await this.video.play();
    } catch (error) {
      if (error.name === 'NotAllowedError' && !this.video.muted) this.startMuted();
    }
  }

  startMuted() {
    this.video.muted = true;
    this.emit('muted');
    this.video.play().catch(() => {});
  }

  pause() {
    this.wantsPlay = false;
    this.follow(false);
    this.video.pause();
    this.emit('state');
  }

  setSpeed(speed) {
    this.speed = speed;
    this.video.playbackRate = speed;
    if (speed > 1) this.follow(false);
    this.emit('state');
  }
}
