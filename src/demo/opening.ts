/** How files come in: dropped, picked, a whole folder, or the examples that lie beside the page. */
import { byId } from "./dom.js";
import type { GivenFile } from "./messages.js";

/** The examples' paths, written beside them by the build. */
const EXAMPLES = "examples/index.json";

type OnProblem = (what: string, error: unknown) => void;

/**
 * Wires the drop zone and its buttons.
 * @param onFiles some files, once for every drop or choice
 * @param onProblem something that could not be read
 */
export function listenForFiles(onFiles: (files: GivenFile[]) => void, onProblem: OnProblem): void {
  const zone = byId("drop");
  for (const id of ["pick-files", "pick-folder"]) {
    const input = byId<HTMLInputElement>(id);
    input.addEventListener("change", () => {
      onFiles([...(input.files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
      // The same file may be chosen again, after it was changed.
      input.value = "";
    });
  }
  byId("pick-files-button").addEventListener("click", () => byId("pick-files").click());
  byId("pick-folder-button").addEventListener("click", () => {
    const { showDirectoryPicker: pick } = globalThis as { showDirectoryPicker?: DirectoryPicker };
    if (pick) chosenFolder(pick, onProblem).then(onFiles, (error) => onProblem("the folder", error));
    else byId("pick-folder").click();
  });
  byId("open-examples").addEventListener("click", () => {
    fetchExamples().then(onFiles, (error) => onProblem("the examples", error));
  });
  // Anywhere: a drop beside the zone would else make the browser leave the page for the file.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) zone.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer)
      filesOf(event.dataTransfer, onProblem).then(onFiles, (error) => onProblem("what was dropped", error));
  });
}

type DirectoryPicker = () => Promise<FileSystemDirectoryHandle>;

/**
 * Files of a folder that is chosen; none where the choice is given up. Browsers that have no such picker have an input for
 * folders, which holds the page up for some 0.1 s to list hundreds of files, and calls it an upload.
 */
async function chosenFolder(pick: DirectoryPicker, onProblem: OnProblem): Promise<GivenFile[]> {
  const given: GivenFile[] = [];
  try {
    const folder = await pick();
    await list(folder, folder.name, given, onProblem);
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "AbortError")) throw error;
  }
  return given;
}

/** A file that goes while the folder is listed, as temporary ones of a training do, is a problem of its own. */
async function list(
  folder: FileSystemDirectoryHandle,
  path: string,
  given: GivenFile[],
  onProblem: OnProblem,
): Promise<void> {
  for await (const [name, handle] of folder.entries()) {
    const inside = `${path}/${name}`;
    try {
      if (handle.kind === "directory") await list(handle as FileSystemDirectoryHandle, inside, given, onProblem);
      else given.push({ path: inside, file: await (handle as FileSystemFileHandle).getFile() });
    } catch (error) {
      onProblem(inside, error);
    }
  }
}

async function filesOf(transfer: DataTransfer, onProblem: OnProblem): Promise<GivenFile[]> {
  // Both are gone from the event after the first await.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry());
  const files = [...transfer.files];
  if (entries.every((entry) => entry === null)) return files.map((file) => ({ path: file.name, file }));
  const given: GivenFile[] = [];
  for (const entry of entries) if (entry) await walk(entry, given, onProblem);
  return given;
}

async function walk(entry: FileSystemEntry, given: GivenFile[], onProblem: OnProblem): Promise<void> {
  const path = entry.fullPath.replace(/^\//, "");
  try {
    if (entry.isFile) {
      const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
      given.push({ path, file });
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      // A reader gives some hundred at a time, and none when it is through.
      const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) return;
      for (const inside of some) await walk(inside, given, onProblem);
    }
  } catch (error) {
    onProblem(path, error);
  }
}

async function fetchExamples(): Promise<GivenFile[]> {
  const paths: string[] = await (await fetchOwn(EXAMPLES)).json();
  return Promise.all(
    paths.map(async (path) => {
      const blob = await (await fetchOwn(`examples/${path}`)).blob();
      return { path, file: new File([blob], path.slice(path.lastIndexOf("/") + 1)) };
    }),
  );
}

async function fetchOwn(path: string): Promise<Response> {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${answer.statusText}`);
  return answer;
}
