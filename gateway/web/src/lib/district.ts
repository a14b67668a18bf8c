import { createContext, use } from 'react';

interface DistrictInUse {
  id: string;
  /** IANA name; every time on screen is in it. */
  timeZone: string;
}

export const DistrictContext = createContext<DistrictInUse | undefined>(undefined);

/** The district of the current address. */
export function useDistrict(): DistrictInUse {
  const district = use(DistrictContext);
  if (!district) throw new Error('This screen needs a district around it.');
  return district;
}
