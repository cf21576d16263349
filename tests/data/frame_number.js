// The number that the picture shows; -1 before there is a picture.
function number() {
    context.clearRect(0, 0, 320, 180);
    context.drawImage(video, 0, 0, 320, 180);
    const line = context.getImageData(0, 160, 320, 1).data;
    let number = 0;
    for (let bit = 0; bit < 12; bit++) number |= (line[(18 + bit * 24) * 4] > 128) << bit;
    return line[3] ? number : -1;
}
