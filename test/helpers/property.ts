/** Every run tries the same cases; a failure prints its seed and path, which replay it in fc.assert. */
export const SEED = 20_261_126;
