/** Images on an engine: whether they are there, and building them to the end. */
import type Docker from 'dockerode';

/** Waits for the end of a build or a pull. Throws with the last lines of what it said. */
export function followBuild(docker: Docker, stream: NodeJS.ReadableStream): Promise<void> {
  const said: string[] = [];
  return new Promise((resolve, reject) => {
    const fail = (reason: string) => reject(new Error(`${reason}\n${said.slice(-40).join('')}`));
    docker.modem.followProgress(
      stream,
      (error) => (error ? fail(error.message) : resolve()),
      (line: { stream?: string; error?: string }) => {
        if (line.stream) said.push(line.stream);
        if (line.error) fail(line.error);
      },
    );
  });
}

export async function hasImage(docker: Docker, name: string): Promise<boolean> {
  try {
    await docker.getImage(name).inspect();
    return true;
  } catch (error) {
    if ((error as { statusCode?: number }).statusCode === 404) return false;
    throw error;
  }
}
