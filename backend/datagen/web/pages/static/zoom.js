// Opens links to whole pictures (a[data-zoom]) in a viewer that zooms to single pixels. Without it they are links.

const { viewer: program, sheet } = document.querySelector("script[data-viewer]").dataset;
/** Size of a pixel of the picture on the screen, from which on pixels are drawn as squares, in pixels of the page. */
const SQUARES_FROM = 3;
/** Largest factor by which a small picture is enlarged to fill the window. */
const MOST_AT_FIRST = 4;
let loading;

function load() {
  loading ??= Promise.all([
    import(program),
    new Promise((done, failed) => {
      const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: sheet });
      link.addEventListener("load", done);
      link.addEventListener("error", failed);
      document.head.append(link);
    }),
  ]).then(([module]) => module.default);
  return loading;
}

function slideOf(link) {
  const { zoom: alt, width, height, preview } = link.dataset;
  return { src: link.href, msrc: preview, alt, width: Number(width), height: Number(height) };
}

function filling({ elementSize: picture, panAreaSize: room }) {
  return Math.min(room.x / picture.x, room.y / picture.y, MOST_AT_FIRST);
}

function open(PhotoSwipe, links, first) {
  const viewer = new PhotoSwipe({
    dataSource: links.map(slideOf),
    index: links.indexOf(first),
    bgOpacity: 1,
    loop: false,
    wheelToZoom: true,
    initialZoomLevel: filling,
    secondaryZoomLevel: (level) => Math.max(1, 3 * filling(level)),
    maxZoomLevel: 16,
    paddingFn: () => ({ top: 44, bottom: 44, left: 0, right: 0 }),
    errorMsg: "The picture cannot be loaded: it is gone, or you are logged out.",
    showHideAnimationType: matchMedia("(prefers-reduced-motion: reduce)").matches ? "none" : "fade",
    closeTitle: "Close (Esc)",
    zoomTitle: "Zoom (Z)",
    arrowPrevTitle: "Previous image (←)",
    arrowNextTitle: "Next image (→)",
  });
  let line;
  const say = () => {
    const { currSlide: slide } = viewer;
    if (!line || !slide) return;
    const size = `${slide.data.alt} · ${slide.width} × ${slide.height} pixels`;
    line.textContent = slide.content.isLoading() ? `${size} · loading every pixel` : `${size} · ${Math.round(100 * slide.currZoomLevel)} %`;
  };
  viewer.on("uiRegister", () => {
    viewer.ui.registerElement({
      name: "line",
      appendTo: "root",
      onInit: (element) => {
        line = element;
        line.setAttribute("role", "status");
      },
    });
  });
  viewer.on("zoomPanUpdate", ({ slide }) => {
    slide.content.element?.classList.toggle("squares", slide.currZoomLevel >= SQUARES_FROM);
    say();
  });
  for (const event of ["change", "contentLoadImage", "loadComplete"]) viewer.on(event, say);
  viewer.on("destroy", () => first.focus());
  viewer.init();
  viewer.element.setAttribute("aria-label", "Every pixel");
  say();
}

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-zoom]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  let PhotoSwipe;
  try {
    PhotoSwipe = await load();
  } catch {
    location.assign(link.href); // the viewer cannot be loaded: the browser shows the picture
    return;
  }
  open(PhotoSwipe, [...document.querySelectorAll("a[data-zoom]")], link);
});
